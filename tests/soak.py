"""Nights under random kills and S3 faults, each recounted, until the time is up: `make soak SECONDS=600 SEED=1`.

A night is started again until it is published. What must hold in the end: no row is lost, none is there twice, and
nothing was visible before. The seed decides inputs, faults and kills; when a kill lands depends on the machine.
"""

from __future__ import annotations

import argparse
import io
import json
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
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import verify_labels
from job_runs import JOB, descendants, in_open_session, kill, made_up_pairs, ray_session, started, tiny_checkpoint
from s3_faults import FaultProxy, Rule
from s3_server import S3Location, S3Server

UNIT_ROWS = 16
# After so many starts the faults stop, so that a night that cannot end is seen as one.
FAULTY_STARTS, MAX_STARTS = 8, 12
ENDS_TO_GO_ON_FROM = {4, -signal.SIGKILL}
# The preflight, reading, classifying, committing, and the board.
WORKERS = ("ray::_in_a_thread", "ray::ReadUnits", "ray::MapWorker", "ray::Write", "ray::_Told")
# What a share of all requests meets; a client that gives up ends its start with 4.
FAULTS = [
    Rule("status", probability=0.02, times=None),
    Rule("status", probability=0.01, times=None, status=500, code="InternalError"),
    Rule("status", method="PUT", probability=0.02, times=None, status=409, code="ConditionalRequestConflict"),
    Rule("rst_before", probability=0.02, times=None),
    Rule("rst_after", method="PUT", probability=0.04, times=None),
    Rule("rst_after", probability=0.01, times=None),
    Rule("truncate", method="GET", probability=0.02, times=None),
    Rule("ok200err", method="PUT", probability=0.01, times=None, code="InternalError"),
    Rule("delay", probability=0.01, times=None, seconds=0.3),
]


@dataclass
class Tally:
    """What was done to the nights, and what came of them."""

    rounds: int = 0
    starts: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    ends: Counter[int] = field(default_factory=Counter)
    rows: int = 0
    lost: int = 0
    doubled: int = 0
    early: int = 0
    refuted: int = 0

    @property
    def clean(self) -> bool:
        """Whether every promise was kept."""
        return not (self.lost or self.doubled or self.early or self.refuted)

    def line(self) -> str:
        """All of it, as JSON on one line."""
        return json.dumps(
            {name: dict(value) if isinstance(value, Counter) else value for name, value in vars(self).items()}
        )


@dataclass(frozen=True)
class Soak:
    """What all rounds share."""

    draw: random.Random
    tally: Tally
    checkpoint: Path
    folder: Path
    server: S3Server
    proxy: FaultProxy


class S3Place:
    """Input and output of one night on the S3 server; looked at past the proxy, with boto3."""

    def __init__(self, location: S3Location, proxy: FaultProxy) -> None:
        self.uri, self.endpoint = location.uri, location.endpoint
        self.flags = ("--s3-endpoint", proxy.endpoint)
        self._location, self._client = location, location.client()

    def put(self, name: str, data: bytes) -> None:  # noqa: D102
        self._client.put_object(Bucket=self._location.bucket, Key=f"{self._location.prefix}/{name}", Body=data)

    def names(self) -> list[str]:  # noqa: D102
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._location.bucket, Prefix=f"{self._location.prefix}/out/"
        )
        base = len(self._location.prefix) + len("/out/")
        return [entry["Key"][base:] for page in pages for entry in page.get("Contents", [])]

    def read(self, name: str) -> bytes:  # noqa: D102
        key = f"{self._location.prefix}/out/{name}"
        data: bytes = self._client.get_object(Bucket=self._location.bucket, Key=key)["Body"].read()
        return data


class LocalPlace:
    """Input and output of one night on the local disk."""

    endpoint = None
    flags = ()

    def __init__(self, folder: Path) -> None:
        self.uri, self._folder = str(folder), folder

    def put(self, name: str, data: bytes) -> None:  # noqa: D102
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def names(self) -> list[str]:  # noqa: D102
        out = self._folder / "out"
        return [str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()]

    def read(self, name: str) -> bytes:  # noqa: D102
        return (self._folder / "out" / name).read_bytes()


Place = S3Place | LocalPlace


def night(soak: Soak, number: int) -> None:
    """One input, started until it is published, then recounted."""
    draw, tally = soak.draw, soak.tally
    name = f"soak-{number}"
    on_s3 = draw.random() < 0.75
    place: Place = S3Place(soak.server.location(name), soak.proxy) if on_s3 else LocalPlace(soak.folder / name)
    expected = written_pairs(place, draw)
    flags = ("--input", f"{place.uri}/in/", "--output", f"{place.uri}/out/", "--model", soak.checkpoint,
             "--unit-rows", UNIT_ROWS, "--max-rejected-share", 0.2, *place.flags)  # fmt: skip
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
            tally.refuted += 1
            say(f"round {number}: start {start} ended with {code}: {stderr}")
            return
    soak.proxy.set_rules([])
    recount(soak, number, place, expected)


def seen_early(place: Place) -> bool:
    """Whether readers see data of a run that is not sealed."""
    names = place.names()
    return any(name.startswith("part-") for name in names) and not any(name.endswith("/sealed.json") for name in names)


def faults(draw: random.Random) -> list[Rule]:
    """Some faults all the time, and at times a storm that no client survives."""
    storm = [Rule("status", skip=draw.randrange(400), times=draw.randrange(3, 80))] if draw.random() < 0.3 else []
    return [*storm, *FAULTS]


def written_pairs(place: Place, draw: random.Random) -> Counter[str]:
    """Write the night's input; the ids that must each be in exactly one place."""
    expected: Counter[str] = Counter()
    for number in range(draw.randrange(2, 5)):
        pairs = made_up_pairs(draw.randrange(100, 400), seed=draw.randrange(1 << 30))
        premises = pairs["premise"].to_pylist()
        for row in draw.sample(range(len(premises)), draw.randrange(4)):
            premises[row] = None
        pairs = pairs.set_column(1, "premise", pa.array(premises, pa.string()))
        sink = io.BytesIO()
        pq.write_table(pairs, sink, row_group_size=UNIT_ROWS, write_page_checksum=True)
        place.put(f"in/{number}.parquet", sink.getvalue())
        expected.update(pairs["pair_id"].to_pylist())
    return expected


def one_start(soak: Soak, flags: tuple[object, ...], *, kills: int) -> tuple[int, str]:
    """Start the job once, kill something of it up to `kills` times; its exit code and its last line on stderr."""
    with started([sys.executable, JOB, *flags], env=in_open_session({})) as process:
        for _ in range(kills):
            try:
                process.wait(soak.draw.uniform(0.5, 6))
            except subprocess.TimeoutExpired:
                kill_something(soak, process)
        _, stderr = process.communicate(timeout=400)
    return process.returncode, (stderr.strip().splitlines() or [""])[-1]


def kill_something(soak: Soak, driver: subprocess.Popen[str]) -> None:
    """SIGKILL one of the processes that work for the driver, once there is one, or at times the driver.

    Ray's agents are spared, for they would take their node with them.
    """
    workers: list[int] = []
    aim_at_worker = soak.draw.random() < 0.6
    while aim_at_worker and not workers and driver.poll() is None:
        workers = [pid for title in WORKERS for pid in descendants(os.getpid(), title)]
        time.sleep(0.05)
    if driver.poll() is None:
        victim = soak.draw.choice(workers) if workers else driver.pid
        soak.tally.kills["driver" if victim == driver.pid else title_of(victim).partition("(")[0]] += 1
        kill(victim)


def title_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().partition("\0")[0]
    except (FileNotFoundError, ProcessLookupError):
        return "gone"


def recount(soak: Soak, number: int, place: Place, expected: Counter[str]) -> None:
    """Count the ids that any reader of the folder sees, and have the run verified."""
    tally = soak.tally
    found: Counter[str] = Counter()
    for name in place.names():
        visible = not any(segment.startswith(("_", ".")) for segment in name.split("/"))
        if visible or name.startswith("_rejected/"):
            found.update(pq.read_table(io.BytesIO(place.read(name)), columns=["pair_id"])["pair_id"].to_pylist())
    tally.rounds += 1
    tally.rows += expected.total()
    tally.lost += (expected - found).total()
    tally.doubled += (found - expected).total()
    endpoint = ("--s3-endpoint", place.endpoint) if place.endpoint else ()
    code = verify_labels.main(
        [str(word) for word in ("--output", f"{place.uri}/out/", "--input", f"{place.uri}/in/", *endpoint)]
    )
    tally.refuted += code != 0
    tally.faults = Counter(soak.proxy.faults)
    say(f"round {number}: {tally.line()}")


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


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
    deadline, number = time.monotonic() + options.seconds, 0
    with prepared(seed) as soak:
        while time.monotonic() < deadline:
            number += 1
            night(soak, number)
        say(soak.tally.line())
    return 0 if soak.tally.clean else 1


if __name__ == "__main__":
    sys.exit(main())
