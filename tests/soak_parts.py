"""What the rounds of the soak share: places to label at, what befalls jobs and S3, and the tally of what came of it."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import verify_labels
from job_runs import descendants, kill, made_up_pairs
from output_places import LocalPlace, Place, S3Place, deliver_pairs, ids_in_folder, untrue_files
from s3_faults import FaultProxy, Rule
from s3_server import S3Server

UNIT_ROWS = 16
# In bf16 a random checkpoint may differ too often from itself in fp32, which ends a start with 3.
ALL_STARTS = ("--unit-rows", UNIT_ROWS, "--max-rejected-share", 0.2, "--precision", "fp32")
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
    pauses: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    vanished: int = 0
    # By exit code.
    ends: Counter[int] = field(default_factory=Counter)
    cleanings: Counter[int] = field(default_factory=Counter)
    rows: int = 0
    lost: int = 0
    doubled: int = 0
    early: int = 0
    # Files that `_SUCCESS` names and that were not there as it says.
    untrue: int = 0
    # Ends that should not be, and recounts that failed.
    refuted: int = 0

    @property
    def clean(self) -> bool:
        """Whether every promise was kept."""
        return not (self.lost or self.doubled or self.early or self.untrue or self.refuted)

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

    def new_place(self, name: str, *, share_on_s3: float) -> Place:
        """An empty place; jobs reach S3 through the proxy."""
        if self.draw.random() < share_on_s3:
            return S3Place(self.server.location(name), self.proxy.endpoint)
        return LocalPlace(self.folder / name)

    def refute(self, what: str) -> None:
        """Say and count what should not be."""
        self.tally.refuted += 1
        say(f"REFUTED: {what}")


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def faults(draw: random.Random) -> list[Rule]:
    """Some faults all the time, and at times a storm that no client survives."""
    storm = [Rule("status", skip=draw.randrange(400), times=draw.randrange(3, 80))] if draw.random() < 0.3 else []
    return [*storm, *FAULTS]


def delivered_pairs(place: Place, draw: random.Random, *, rows: tuple[int, int]) -> dict[str, Counter[str]]:
    """Write two to four input files of about so many rows; the ids of each that get a label."""
    expected = {}
    for number in range(draw.randrange(2, 5)):
        pairs = made_up_pairs(draw.randrange(*rows), seed=draw.randrange(1 << 30))
        premises, ids = pairs["premise"].to_pylist(), pairs["pair_id"].to_pylist()
        for row in draw.sample(range(len(premises)), draw.randrange(4)):
            premises[row] = None
        name = f"{number}.parquet"
        deliver_pairs(place, name, pairs.set_column(1, "premise", pa.array(premises, pa.string())))
        expected[name] = Counter(key for key, premise in zip(ids, premises, strict=True) if premise is not None)
    return expected


def kill_something(soak: Soak, drivers: Sequence[subprocess.Popen[str]]) -> None:
    """SIGKILL a driver or a process that works for one; nothing if none is there any more."""
    if victim := some_process(soak, drivers):
        soak.tally.kills[kind_of(victim, drivers)] += 1
        kill(victim)


def some_process(soak: Soak, drivers: Sequence[subprocess.Popen[str]]) -> int | None:
    """A driver that runs or a process that works for one; None if all have ended.

    Ray's agents are spared, for they would take their node with them.
    """
    running = [driver.pid for driver in drivers if driver.poll() is None]
    workers = [pid for title in WORKERS for pid in descendants(os.getpid(), title)]
    if not running:
        return None
    return soak.draw.choice(workers if workers and soak.draw.random() < 0.6 else running)


def kind_of(pid: int, drivers: Sequence[subprocess.Popen[str]]) -> str:
    """What a process is, in a word."""
    if pid in {driver.pid for driver in drivers}:
        return "driver"
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().partition("\0")[0].partition("(")[0]
    except (FileNotFoundError, ProcessLookupError):
        return "gone"


def recount(soak: Soak, title: str, place: Place, source: str, expected: Counter[str]) -> None:
    """Count the ids that readers of the folder see, hold every file against `_SUCCESS`, and have the run verified."""
    tally, found = soak.tally, ids_in_folder(place)
    tally.rows += expected.total()
    tally.lost += (expected - found).total()
    tally.doubled += (found - expected).total()
    tally.untrue += len(untrue_files(place))
    endpoint = ("--s3-endpoint", place.endpoint) if place.endpoint else ()
    flags = ("--output", f"{place.uri}/out/", "--input", source, *endpoint)
    if verify_labels.main([str(word) for word in flags]) != 0:
        soak.refute(f"{title}: verify_labels")
    tally.faults = Counter(soak.proxy.faults)
    say(f"{title}: {tally.line()}")
