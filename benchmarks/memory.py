"""`python -m benchmarks.memory`: the peak memory of a whole job, few pairs against ten times as many.

Memory is summed over the job's whole process tree as PSS: a page of the object store that several processes map counts
once. RSS is shown beside it because it is what most tools show, and counts such a page in each. Linux only.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from benchmarks import checkpoint, machine, pairs, whole_jobs

# A peak shorter than this may be missed; reading all processes takes some tens of milliseconds.
SAMPLE_SECONDS: Final = 0.25
TARGET_RATIO: Final = 1.2
ROWS_PER_FILE: Final = 20_000
SHOWN_ROLES: Final = 8
DRIVER: Final = "driver"
# The lines of /proc/PID/smaps_rollup that are summed, in kB there.
FIELDS: Final = ("Pss", "Rss", "Pss_Shmem")


@dataclass
class Peaks:
    """The highest values seen, in bytes. `by_role` is the largest single process of each role by PSS."""

    pairs: int
    seconds: float = 0.0
    pss: int = 0
    rss: int = 0
    shared_memory: int = 0
    processes: int = 0
    by_role: dict[str, int] = field(default_factory=dict)

    def note(self, processes: dict[int, Process]) -> None:
        """Take one sample of all processes into account."""
        self.pss = max(self.pss, sum(process.pss for process in processes.values()))
        self.rss = max(self.rss, sum(process.rss for process in processes.values()))
        self.shared_memory = max(self.shared_memory, sum(process.shared_memory for process in processes.values()))
        self.processes = max(self.processes, len(processes))
        for process in processes.values():
            self.by_role[process.role] = max(self.by_role.get(process.role, 0), process.pss)


@dataclass(frozen=True)
class Process:
    """One process at one moment, in bytes."""

    role: str
    pss: int
    rss: int
    shared_memory: int


def main(argv: Sequence[str] | None = None) -> None:
    """Run both jobs, print their peaks and the ratio, and write them as JSON where asked."""
    given = _parser().parse_args(argv)
    header = machine.this_machine()
    with tempfile.TemporaryDirectory(prefix="albert-infer-memory-") as scratch:
        model = Path(scratch) / "model"
        checkpoint.save_checkpoint(model, checkpoint.TINY)
        few, many = (_measured_job(Path(scratch), model, given.data, count) for count in (given.few, given.many))
    ratio = many.pss / few.pss
    _show(few, many, ratio)
    if given.json:
        found = {"machine": asdict(header), "few": asdict(few), "many": asdict(many), "ratio": ratio}
        given.json.write_text(json.dumps(found, indent=1) + "\n")


def process_tree(root: int) -> dict[int, Process]:
    """The process `root` and all that descend from it, by process id; those that end meanwhile are left out."""
    children = defaultdict(list)
    for pid, parent in _parents().items():
        children[parent].append(pid)
    found, waiting = {}, [root]
    while waiting:
        pid = waiting.pop()
        waiting += children[pid]
        try:
            found[pid] = _process(pid, root)
        except OSError:
            continue
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("--data", type=Path, default=pairs.default_source(), help="Parquet file or folder of pairs")
    parser.add_argument("--few", type=int, default=20_000, help="pairs of the first job")
    parser.add_argument("--many", type=int, default=200_000, help="pairs of the second job")
    parser.add_argument("--json", type=Path, help="write everything to this file")
    return parser


def _measured_job(scratch: Path, model: Path, data: Path, count: int) -> Peaks:
    source, output = scratch / f"pairs-{count}", scratch / f"labels-{count}"
    pairs.write_files(source, pairs.read_pairs(data, count), ROWS_PER_FILE)
    arguments, log = whole_jobs.label_command(source, output, model), output.with_suffix(".log")
    peaks, begun = Peaks(count), time.perf_counter()
    with whole_jobs.start(arguments, log) as process:
        _sample_until_end(process, peaks)
    peaks.seconds = time.perf_counter() - begun
    whole_jobs.refuse_failure(process, arguments, log)
    labelled = whole_jobs.run_report(output)["labelled"]
    if labelled != count:
        raise RuntimeError(f"the job labelled {labelled} of {count} pairs: its memory would mean nothing")
    return peaks


def _sample_until_end(process: subprocess.Popen[bytes], peaks: Peaks) -> None:
    while True:
        peaks.note(process_tree(process.pid))
        try:
            process.wait(SAMPLE_SECONDS)
        except subprocess.TimeoutExpired:
            continue
        return


def _parents() -> dict[int, int]:
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            # The name of the program stands in parentheses and may hold spaces; the parent is the second field after.
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    return parents


def _process(pid: int, root: int) -> Process:
    sizes = dict.fromkeys(FIELDS, 0)
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, _, amount = line.partition(":")
        if name in sizes:
            sizes[name] = int(amount.split()[0]) * 1024
    role = DRIVER if pid == root else _role(Path(f"/proc/{pid}/cmdline").read_text(errors="replace"))
    return Process(role, *(sizes[name] for name in FIELDS))


def _role(command_line: str) -> str:
    """What a process is in Ray: `ray::Name` of a worker as Ray titles it, else the program or script that it runs."""
    words = command_line.replace("\0", " ").split()
    if words and words[0].startswith("ray::"):
        # A worker's title ends in the method that it runs just now.
        return re.sub(r"\.\w+$", "", words[0])
    scripts = [word for word in words if word.endswith(".py")]
    return Path((scripts or words or ["unknown"])[0]).name


def _show(few: Peaks, many: Peaks, ratio: float) -> None:
    table = Table("peak", box=None, header_style="bold")
    for peaks in (few, many):
        table.add_column(f"{peaks.pairs:,} pairs", justify="right")
    table.add_row("seconds", *(f"{peaks.seconds:.0f}" for peaks in (few, many)))
    table.add_row("processes", *(f"{peaks.processes}" for peaks in (few, many)))
    table.add_row("PSS of all", *(_megabytes(peaks.pss) for peaks in (few, many)))
    table.add_row("RSS of all", *(_megabytes(peaks.rss) for peaks in (few, many)))
    table.add_row("shared memory in PSS", *(_megabytes(peaks.shared_memory) for peaks in (few, many)))
    roles = sorted(few.by_role | many.by_role, key=lambda role: -many.by_role.get(role, 0))
    for role in roles[:SHOWN_ROLES]:
        table.add_row(f"  largest {role}", *(_megabytes(peaks.by_role.get(role, 0)) for peaks in (few, many)))
    console = Console(highlight=False)
    console.print(table)
    verdict = "met" if ratio <= TARGET_RATIO else "missed"
    console.print(
        f"{verdict}: peak memory grows {ratio:.2f} times from {few.pairs:,} pairs to {many.pairs:,}, "
        f"target at most {TARGET_RATIO}"
    )


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"


if __name__ == "__main__":
    main()
