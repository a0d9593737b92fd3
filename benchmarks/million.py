"""`python -m benchmarks.million`: whether a long job keeps its memory, its speed and the object store as they were.

A job labels a million pairs on a Ray head of its own, whose object store is smaller than what passes through it.
Sampled while it runs: the memory of all processes as PSS, and what Ray exports of its object store. Linux only.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Final
from urllib.error import URLError
from urllib.request import urlopen

import pyarrow.parquet as pq
import ray
from prometheus_client.parser import text_string_to_metric_families

from benchmarks import checkpoint, machine, memory, pairs, whole_jobs, workloads

SAMPLE_SECONDS: Final = 1.0
# Four units of the default size a file.
ROWS_PER_FILE: Final = 65_536
ROWS_PER_GROUP: Final = 8_192
# Ray's names, with the label that matters: bytes in the object store now, and bytes spilled since the node began.
STORED: Final = ("ray_object_store_used_memory", None)
SPILLED: Final = ("ray_spill_manager_objects_bytes", "Spilled")
MOST_GROWTH: Final = 1.1
LEAST_SPEED: Final = 0.9
QUARTERS: Final = 4
# Else a token in somebody's home would guard the cluster.
NO_TOKEN: Final = {"RAY_AUTH_MODE": "disabled"}
# Kept of the samples: enough for a curve.
KEPT_SAMPLES: Final = 100


@dataclass(frozen=True)
class StoreUse:
    """Bytes in Ray's object store, and bytes that have been spilled from it until now."""

    stored: int
    spilled: int


@dataclass(frozen=True)
class Sample:
    """One moment: seconds since the epoch, and how many processes there are with how many bytes together."""

    at: float
    processes: int
    pss: int
    store: StoreUse


@dataclass(frozen=True)
class Quarter:
    """A quarter of the time of labelling."""

    pairs_per_second: float
    most_processes: int
    median_pss: int
    peak_pss: int
    peak_stored: int


def main(argv: Sequence[str] | None = None) -> None:
    """Run the job, recount its labels, print what was measured and write it as JSON where asked."""
    given = _parser().parse_args(argv)
    header = machine.this_machine()
    # Not the default folder for temporary files: the path of Ray's sockets may have 107 bytes.
    with tempfile.TemporaryDirectory(prefix="million-", dir="/tmp", ignore_cleanup_errors=True) as scratch:
        source, output, model = (Path(scratch) / name for name in ("pairs", "labels", "model"))
        write_pairs(source, given.data, given.pairs)
        checkpoint.save_checkpoint(model, checkpoint.SHAPES[given.shape])
        with ray_head(Path(scratch) / "ray", given.port, given.store_megabytes << 20) as head:
            samples = sampled_job(head, given.port, whole_jobs.label_command(source, output, model), output)
        report, verified = whole_jobs.run_report(output), recounted(output, source)
        quarters = quarters_of(committed(output), samples)
    spilled = max(sample.store.spilled for sample in samples)
    found = {
        "machine": asdict(header),
        "settings": {"pairs": given.pairs, "shape": given.shape, "store_bytes": given.store_megabytes << 20},
        "targets": targets_met(quarters, spilled, verified=verified),
        "report": {name: report[name] for name in ("labelled", "pairs_per_second", "seconds", "precision", "workers")},
        "quarters": [asdict(quarter) for quarter in quarters],
        "peak_stored": max(sample.store.stored for sample in samples),
        "spilled": spilled,
    }
    print(json.dumps(found, indent=1))
    if given.json:
        kept = samples[:: -(-len(samples) // KEPT_SAMPLES)]
        given.json.write_text(json.dumps({**found, "samples": [asdict(sample) for sample in kept]}, indent=1) + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.million", description=__doc__)
    parser.add_argument("--data", type=Path, default=workloads.default_data(), help="Parquet file or folder of pairs")
    parser.add_argument("--pairs", type=int, default=1_000_000, help="pairs to label")
    parser.add_argument("--shape", choices=checkpoint.SHAPES, default="mini", help="the random checkpoint's shape")
    parser.add_argument("--store-megabytes", type=int, default=150, help="Ray's object store")
    parser.add_argument("--port", type=int, default=26_379, help="Ray's port; its metrics are at the next one")
    parser.add_argument("--json", type=Path, help="write everything to this file")
    return parser


def write_pairs(folder: Path, data: Path, count: int) -> None:
    """Write `count` pairs into a new folder: a unit has as many different texts and words as real ones have."""
    folder.mkdir(parents=True)
    texts = pairs.read_texts(data)
    for first in range(0, count, ROWS_PER_FILE):
        table = pairs.recombined(texts, first, min(ROWS_PER_FILE, count - first))
        pq.write_table(table, folder / f"pairs-{first:08d}.parquet", row_group_size=ROWS_PER_GROUP)


@contextmanager
def ray_head(folder: Path, port: int, store_bytes: int) -> Iterator[subprocess.Popen[bytes]]:
    """A Ray head of this machine with an object store of that size, which exports its metrics every second."""
    arguments = [
        *("-m", "ray.scripts.scripts", "start", "--head", "--block", f"--temp-dir={folder}", f"--port={port}"),
        *(
            "--include-dashboard=false",
            "--disable-usage-stats",
            f"--metrics-export-port={port + 1}",
            f"--object-store-memory={store_bytes}",
        ),
        *(f"--num-cpus={machine.cores()}", f"--ray-client-server-port={port + 2}"),
        *("--min-worker-port=0", "--max-worker-port=0"),
    ]
    log = folder.with_suffix(".log")
    with whole_jobs.start(arguments, log, {"RAY_metrics_report_interval_ms": "1000", **NO_TOKEN}) as head:
        try:
            while not _is_up(port + 1):
                if head.poll() is not None:
                    raise RuntimeError(f"Ray did not start:\n{log.read_text(errors='replace')[-2000:]}")
                time.sleep(SAMPLE_SECONDS)
            yield head
        finally:
            head.terminate()


def sampled_job(head: subprocess.Popen[bytes], port: int, arguments: list[str], output: Path) -> list[Sample]:
    """Run our job on the head's cluster; its processes and the head's, moment after moment."""
    address, log = f"{ray.util.get_node_ip_address()}:{port}", output.with_suffix(".log")
    samples = []
    with whole_jobs.start(arguments, log, {"RAY_ADDRESS": address, **NO_TOKEN}) as job:
        while job.poll() is None:
            processes = memory.process_tree(head.pid) | memory.process_tree(job.pid)
            pss = sum(one.pss for one in processes.values())
            samples.append(Sample(time.time(), len(processes), pss, exported(port + 1)))
            time.sleep(SAMPLE_SECONDS)
    whole_jobs.refuse_failure(job, arguments, log)
    return samples


def _is_up(port: int) -> bool:
    """Whether the node exports what is asked of it."""
    try:
        exported(port)
    except (URLError, KeyError):
        return False
    return True


def exported(port: int) -> StoreUse:
    """What the node says that exports at this port. Raises URLError before it does, KeyError if it lacks a figure."""
    with urlopen(f"http://{ray.util.get_node_ip_address()}:{port}/metrics", timeout=60) as reply:
        return store_use(reply.read().decode())


def store_use(exposition: str) -> StoreUse:
    """The two figures in what a node exports. Raises KeyError for one that is not there."""
    found = {
        (sample.name, sample.labels.get("State")): int(sample.value)
        for family in text_string_to_metric_families(exposition)
        for sample in family.samples
    }
    return StoreUse(found[STORED], found[SPILLED])


def committed(output: Path) -> list[tuple[float, int]]:
    """When each unit was committed, and its rows, in that order: publishing keeps the time of a file."""
    manifest = json.loads((output / "_SUCCESS").read_text())
    return sorted(((output / entry["path"]).stat().st_mtime, entry["rows"]) for entry in manifest["files"])


def quarters_of(units: Sequence[tuple[float, int]], samples: Sequence[Sample]) -> list[Quarter]:
    """The time from the first unit's commit to the last one's, in four equal parts."""
    begun, ended = units[0][0], units[-1][0]
    bounds = [begun + (ended - begun) * part / QUARTERS for part in range(QUARTERS + 1)]
    return [_quarter(units[1:], samples, first, last) for first, last in pairwise(bounds)]


def _quarter(units: Sequence[tuple[float, int]], samples: Sequence[Sample], first: float, last: float) -> Quarter:
    rows = sum(count for at, count in units if first < at <= last)
    inside = [sample for sample in samples if first < sample.at <= last]
    memory_used = [sample.pss for sample in inside]
    return Quarter(
        pairs_per_second=rows / (last - first),
        most_processes=max(sample.processes for sample in inside),
        median_pss=int(median(memory_used)),
        peak_pss=max(memory_used),
        peak_stored=max(sample.store.stored for sample in inside),
    )


def recounted(output: Path, source: Path) -> bool:
    """Whether the independent recount finds every row labelled once, as it was read."""
    arguments, log = ["jobs/verify_labels.py", "--output", str(output), "--input", str(source)], output / "_verify.log"
    with whole_jobs.start(arguments, log) as process:
        return process.wait() == 0


def targets_met(quarters: Sequence[Quarter], spilled: int, *, verified: bool) -> dict[str, bool]:
    """What the run was to show; the first quarter is left out, because workers warm up in it."""
    early, late = quarters[1], quarters[-1]
    return {
        f"median memory grows at most {MOST_GROWTH} times": late.median_pss <= MOST_GROWTH * early.median_pss,
        f"speed stays above {LEAST_SPEED} of itself": late.pairs_per_second >= LEAST_SPEED * early.pairs_per_second,
        "nothing is spilled": spilled == 0,
        "no row is lost or doubled": verified,
    }


if __name__ == "__main__":
    main()
