"""Many schedules on all cores: progress while they run, a summary at the end, the failing seeds by what broke."""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Final

from simulation import scenario
from simulation.choosing import DrawnChooser
from simulation.protocol import ProtocolUnderTest, protocol_named
from simulation.schedule import Ran, run_schedule

# Schedules handed to a process at a time: under a second.
CHUNK: Final = 100
PROGRESS_SECONDS: Final = 10.0
COUNTED: Final = (
    "steps", "starts", "crash", "crash for good", "again", "give up", "pauses", "late requests landed", "publishes",
    "replaces", "clean-ups", "reads", "labelled", "relabelled", "damages", "clock jumps", "mended by the last start",
)  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """Which schedules, of which protocol. `ignored` are violations that are looked past."""

    first: int
    seeds: int
    protocol: str = "drivers"
    stale_listings: bool = False
    ignored: frozenset[str] = frozenset()
    processes: int = field(default_factory=lambda: os.cpu_count() or 1)


@dataclass
class Summary:
    """What was run, and the first seeds of each violation."""

    schedules: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    failures: dict[str, list[int]] = field(default_factory=dict)
    failed: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    def add(self, other: Summary) -> None:
        """Take in what another process has run."""
        self.schedules += other.schedules
        self.counts += other.counts
        self.failed += other.failed
        for signature, seeds in other.failures.items():
            self.failures[signature] = sorted([*self.failures.get(signature, []), *seeds])[:5]

    def to_text(self) -> str:
        """One fact a line; violations last."""
        speed = self.schedules / self.seconds if self.seconds else 0.0
        lines = [f"{self.schedules:,} schedules in {self.seconds:.1f} s, {speed:,.0f} a second"]
        exits = sorted(name for name in self.counts if "exit " in name)
        lines += [f"{name:<26} {self.counts[name]:,}" for name in (*COUNTED, *exits)]
        for signature, count in self.failed.most_common():
            seeds = ", ".join(map(str, self.failures[signature]))
            lines.append(f"BROKEN {signature}: {count:,} schedules, first seeds {seeds}")
        return "\n".join(lines)


def run_seed(seed: int, asked: Asked, protocol: ProtocolUnderTest) -> Ran:
    """The schedule of one seed."""
    drawn = scenario.drawn(seed, stale_listings=asked.stale_listings)
    chooser = DrawnChooser(drawn)
    ran = run_schedule(drawn, chooser, protocol, ignored=asked.ignored)
    ran.counts["pauses"] = chooser.paused
    return ran


def run_all(asked: Asked) -> Summary:
    """Run them all; prints a line for each violation, and a line of progress every ten seconds."""
    # Imported once: the processes are forked from this one.
    protocol_named(asked.protocol)
    summary, begun = Summary(), time.monotonic()
    told = begun
    for part in _parts(asked):
        summary.add(part)
        for signature, seeds in part.failures.items():
            print(json.dumps({"broken": signature, "seeds": seeds}), flush=True)
        summary.seconds = time.monotonic() - begun
        if time.monotonic() - told > PROGRESS_SECONDS:
            told = time.monotonic()
            line = {"schedules": summary.schedules, "of": asked.seeds, "broken": summary.failed.total()}
            print(json.dumps(line), flush=True)
    return summary


def first_broken(asked: Asked) -> tuple[int, str] | None:
    """The first seed that breaks a promise, and which one; None if none does."""
    protocol_named(asked.protocol)
    with closing(_parts(asked)) as parts:
        for part in parts:
            if part.failures:
                return min((seed, signature) for signature, seeds in part.failures.items() for seed in seeds)
    return None


def _parts(asked: Asked) -> Generator[Summary, None, None]:
    end = asked.first + asked.seeds
    chunks = [(asked, first, min(CHUNK, end - first)) for first in range(asked.first, end, CHUNK)]
    _collect_rarely()
    if asked.processes == 1:
        yield from map(_run_chunk, chunks)
        return
    # Forked, so that what the parent has imported and built is there already.
    with multiprocessing.get_context("fork").Pool(asked.processes) as pool:
        yield from pool.imap(_run_chunk, chunks)


def _collect_rarely() -> None:
    """What was imported and built stays anyway; looking through it for garbage takes a third of a schedule's time."""
    gc.freeze()
    gc.set_threshold(100_000, 50, 50)


def _run_chunk(chunk: tuple[Asked, int, int]) -> Summary:
    asked, first, seeds = chunk
    protocol, summary = protocol_named(asked.protocol), Summary(schedules=seeds)
    for seed in range(first, first + seeds):
        ran = run_seed(seed, asked, protocol)
        summary.counts += ran.counts
        if ran.violation:
            summary.failed[ran.violation.signature] += 1
            summary.failures.setdefault(ran.violation.signature, []).append(seed)
    return summary
