"""`python -m simulation --seeds 1000`, with `tests/` on the path: run schedules, or replay and shrink one."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from simulation import table
from simulation.campaign import Asked, run_all, run_seed
from simulation.choosing import Decision, DrawnChooser, RecordedChooser
from simulation.protocol import protocol_named
from simulation.scenario import Scenario, drawn
from simulation.schedule import Ran, run_schedule
from simulation.shrinking import SECONDS, shrunk
from simulation.situations import find_situations


def main(argv: Sequence[str] | None = None) -> int:
    """1 if a promise was broken, else 0."""
    told = _parser().parse_args(argv)
    asked = Asked(told.first, told.seeds, told.protocol, told.stale_listings, frozenset(told.ignore))
    if told.processes:
        asked = Asked(**{**vars(asked), "processes": told.processes})
    if told.situations:
        return find_situations(asked, told.shrink_seconds)
    if told.replay:
        return _replay(told.replay, asked)
    summary = run_all(asked)
    print(summary.to_text(), flush=True)
    shown = [seeds[0] for _, seeds in sorted(summary.failures.items())][: told.show]
    for seed in shown:
        _show(seed, asked, told.shrink_seconds, Path(told.keep) if told.keep else None)
    return 1 if summary.failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many schedules")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--replay", help="a seed, or a file that --keep wrote: show it step by step")
    parser.add_argument("--show", type=int, default=3, help="shrink and show so many kinds of violations")
    parser.add_argument("--shrink-seconds", type=float, default=SECONDS, help="for each of them")
    parser.add_argument("--keep", help="a folder for replay files of what was shrunk")
    parser.add_argument("--ignore", action="append", default=[], help="a violation to look past, by its first line")
    parser.add_argument("--stale-listings", action="store_true", help="S3 servers whose listings lag behind")
    parser.add_argument("--protocol", default="drivers", help="the adapter: drivers, or before")
    parser.add_argument("--situations", action="store_true", help="find the known failures of --protocol before")
    parser.add_argument("--processes", type=int, help="instead of one a core")
    return parser


def _replay(replayed: str, asked: Asked) -> int:
    protocol = protocol_named(asked.protocol)
    if replayed.isdigit():
        scenario = drawn(int(replayed), stale_listings=asked.stale_listings)
        ran = run_schedule(scenario, DrawnChooser(scenario), protocol, ignored=asked.ignored, is_told=True)
    else:
        kept: dict[str, Any] = json.loads(Path(replayed).read_text())
        decisions = [Decision(*decision) for decision in kept["decisions"]]
        scenario = Scenario.from_json(kept["scenario"])
        ran = run_schedule(scenario, RecordedChooser(decisions), protocol, ignored=asked.ignored, is_told=True)
    print(table.to_text(ran))
    return 1 if ran.violation else 0


def _show(seed: int, asked: Asked, seconds: float, folder: Path | None) -> None:
    """Shrink one failing schedule and print it; with a folder, keep it there for `--replay`."""
    protocol = protocol_named(asked.protocol)
    small = shrunk(run_seed(seed, asked, protocol), protocol, ignored=asked.ignored, seconds=seconds)
    chooser = RecordedChooser(small.decisions)
    told = run_schedule(small.scenario, chooser, protocol, ignored=asked.ignored, is_told=True)
    print(f"\n{table.to_text(told)}", flush=True)
    if folder:
        _keep(told, folder / f"seed-{seed}.json")


def _keep(ran: Ran, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    decisions = [list(asdict(decision).values()) for decision in ran.decisions]
    path.write_text(json.dumps({"scenario": ran.scenario.to_json(), "decisions": decisions}))
    print(f"kept: {path}")


def _fix_hashes() -> None:
    """Start this process again with fixed hashes: the project reads some names in the order of a set."""
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "simulation", *sys.argv[1:]])  # noqa: S606  (ourselves)


if __name__ == "__main__":
    _fix_hashes()
    sys.exit(main())
