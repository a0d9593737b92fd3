"""Nights under random kills and S3 faults, each recounted, until the time is up: `make soak SECONDS=600 SEED=1`.

In some rounds one night is started again until it is published; in the others drivers of several plans overlap at one
output, see `soak_overlaps`. What must hold in the end: no row is lost, none is there twice, nothing was visible before,
and `_SUCCESS` is true. The seed decides inputs, faults and kills; when a kill lands depends on the machine.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from job_runs import JOB, in_open_session, ray_session, started, tiny_checkpoint
from output_places import Place
from s3_faults import FaultProxy
from s3_server import S3Server
from soak_overlaps import overlap
from soak_parts import ALL_STARTS, Soak, Tally, delivered_pairs, faults, kill_something, recount, say

# After so many starts the faults stop, so that a night that cannot end is seen as one.
FAULTY_STARTS, MAX_STARTS = 8, 12
ENDS_TO_GO_ON_FROM = {4, -signal.SIGKILL}


def night(soak: Soak, number: int) -> None:
    """One input, started until it is published, then recounted."""
    draw, tally = soak.draw, soak.tally
    place = soak.new_place(f"soak-{number}", share_on_s3=0.75)
    expected: Counter[str] = sum(delivered_pairs(place, draw, rows=(100, 400)).values(), Counter())
    places = ("--input", f"{place.uri}/in/", "--output", f"{place.uri}/out/", *place.flags)
    flags = (*places, "--model", soak.checkpoint, *ALL_STARTS)
    for start in range(1, MAX_STARTS + 1):
        soak.proxy.set_rules(faults(draw) if start <= FAULTY_STARTS else [])
        # Fewer than make a unit poison, which would be right but hide what this is to show.
        code, stderr = one_start(soak, flags, kills=draw.randrange(3) if start <= FAULTY_STARTS else 0)
        tally.starts += 1
        tally.ends[code] += 1
        if code == 0:
            break
        tally.early += seen_early(place)
        if code not in ENDS_TO_GO_ON_FROM:
            soak.refute(f"round {number}: start {start} ended with {code}: {stderr}")
            return
    soak.proxy.set_rules([])
    recount(soak, f"round {number}", place, f"{place.uri}/in/", expected)


def seen_early(place: Place) -> bool:
    """Whether readers see data of a run that is not sealed."""
    names = place.names()
    return any(name.startswith("part-") for name in names) and not any(name.endswith("/sealed.json") for name in names)


def one_start(soak: Soak, flags: tuple[object, ...], *, kills: int) -> tuple[int, str]:
    """Start the job once, kill something of it up to `kills` times; its exit code and its last line on stderr."""
    with started([sys.executable, JOB, *flags], env=in_open_session({})) as process:
        for _ in range(kills):
            try:
                process.wait(soak.draw.uniform(0.5, 6))
            except subprocess.TimeoutExpired:
                kill_something(soak, [process])
        _, stderr = process.communicate(timeout=400)
    return process.returncode, (stderr.strip().splitlines() or [""])[-1]


@contextmanager
def prepared(seed: int) -> Iterator[Soak]:
    """A server, a proxy before it, a Ray session and a checkpoint."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="albert-infer-soak-")))
        server = stack.enter_context(S3Server())
        proxy = stack.enter_context(FaultProxy(server.endpoint, seed=seed))
        # Before Ray starts: its workers inherit the credentials.
        os.environ.update(server.location("any").env)
        stack.enter_context(ray_session())
        yield Soak(random.Random(seed), Tally(), tiny_checkpoint(folder / "checkpoint"), folder, server, proxy)  # noqa: S311


def main() -> int:
    """Run rounds until the time is up; 0 if every promise was kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=None, help="drawn if not given, and printed")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 16)
    say(f"seed {seed}")
    deadline = time.monotonic() + options.seconds
    with prepared(seed) as soak:
        while time.monotonic() < deadline:
            soak.tally.rounds += 1
            a_round = overlap if soak.draw.random() < 0.6 else night
            a_round(soak, soak.tally.rounds)
        say(soak.tally.line())
    return 0 if soak.tally.clean else 1


if __name__ == "__main__":
    sys.exit(main())
