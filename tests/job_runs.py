"""Whole jobs for the tests: small inputs and checkpoints, ways to start a job, and ways to look at what it left."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray
import torch
import verify_labels
from checkpoints import random_checkpoint
from inline_job import OneThread
from label_pairs import main
from ray.cluster_utils import Cluster
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing

from albert_infer.schema import NliLabel

if TYPE_CHECKING:
    from forked import Forked

JOB = Path(__file__).parents[1] / "jobs" / "label_pairs.py"
# The job without Ray. It writes the same objects in a tenth of the time.
INLINE_JOB = partial(main, executor=OneThread())
# For programs other than the job: the package of this checkout, whichever is installed, and the job as a module.
PROGRAM_PATH = f"{JOB.parents[1]}:{JOB.parent}"
# Ray's own: copying a DataContext reads its deprecated settings too.
RAY_WARNING = "ignore:`use_.*deprecated:DeprecationWarning"
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
WORDS = tuple(f"w{number}" for number in range(93))
LABELS = tuple(str(label) for label in NliLabel)
# Ray's own floor for a node of the tests; the blocks here are some kilobytes.
STORE_BYTES = 150 << 20
# The head hears of a node's death within two seconds instead of half a minute.
FAST_HEALTH_CHECKS = {
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_failure_threshold": "3",
    "RAY_health_check_initial_delay_ms": "0",
}
# A hang must fail rather than block; four times what a loaded machine of two cores was seen to need.
PATIENCE_SECONDS = 400


def tiny_checkpoint(folder: Path, labels: Sequence[str] = LABELS, **config: object) -> Path:
    """Save a random ALBERT with a tokenizer of whole words, whose outputs are called `labels`; `config` changes sizes.

    Whatever the order of `labels`, it says the same of a pair: the weights of each output go with its name.
    """
    named = {"id2label": dict(enumerate(labels)), "label2id": {name: i for i, name in enumerate(labels)}}
    saved = random_checkpoint(folder, **named, **config)
    order = [LABELS.index(label.lower()) for label in labels]
    classifier = saved.model.classifier
    # Balanced, because a random classifier gives nearly every pair the same label.
    with torch.no_grad():
        tokens = torch.randint(len(SPECIAL), len(SPECIAL + WORDS), (64, 16), generator=torch.Generator().manual_seed(0))
        classifier.bias.data -= saved.model(input_ids=tokens).logits.mean(dim=0)
    classifier.weight.data, classifier.bias.data = classifier.weight.data[order], classifier.bias.data[order]
    saved.model.save_pretrained(folder)
    ids = {word: place for place, word in enumerate(SPECIAL + WORDS)}
    tokenizer = Tokenizer(WordLevel(ids, unk_token="[UNK]"))  # noqa: S106  (no password)
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def made_up_pairs(rows: int, *, seed: int) -> pa.Table:
    """Good pairs of 1 to 12 words a side, with an id and a topic; the first premise is too long and gets cut."""
    generator = np.random.default_rng(seed)
    texts = [" ".join(generator.choice(WORDS, generator.integers(1, 13))) for _ in range(2 * rows)]
    texts[0] = " ".join(WORDS[:60])
    return pa.table(
        {
            "pair_id": pa.array([f"{seed}-{row}" for row in range(rows)]),
            "premise": texts[:rows],
            "hypothesis": texts[rows:],
            "topic": pa.array([row % 7 for row in range(rows)], pa.int16()),
        }
    )


def write_pairs(path: Path, pairs: pa.Table, *, group_rows: int = 16) -> Path:
    """Write the pairs as a producer would, with page checksums."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pairs, path, row_group_size=group_rows, write_page_checksum=True, use_dictionary=False)
    return path


def break_page(path: Path, group: int) -> None:
    """Flip one byte in the middle of a row group's premises."""
    chunks = pq.read_metadata(path).row_group(group)
    columns = [chunks.column(place) for place in range(chunks.num_columns)]
    premise = next(column for column in columns if column.path_in_schema == "premise")
    data = bytearray(path.read_bytes())
    data[premise.data_page_offset + premise.total_compressed_size * 3 // 4] ^= 0xFF
    path.write_bytes(data)


# What lines on stderr begin with that tell how far a run is.
PROGRESS: Final = ("labelling: ", "starting Ray ", "joining the Ray cluster ")


@dataclass(frozen=True)
class Outcome:
    """How a job ended, as its user sees it."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def report(self) -> str:
        """What stands on stdout before the summary line."""
        return self.stdout[: self.stdout.rindex("summary {")]

    @property
    def summary(self) -> dict[str, Any]:
        """The last line on stdout."""
        facts: dict[str, Any] = json.loads(self.stdout.splitlines()[-1].removeprefix("summary "))
        return facts

    @property
    def errors(self) -> list[str]:
        """The lines on stderr that are not progress."""
        return [line for line in self.stderr.splitlines() if not line.startswith(PROGRESS)]


@contextmanager
def ray_session() -> Iterator[None]:
    """A Ray session of two cores in this process, whatever the machine has."""
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        yield
    finally:
        ray.shutdown()


def cluster_head(*, num_cpus: int) -> Cluster:
    """The head of a cluster of nodes on this machine, in this process's care. It has no dashboard."""
    node = {"num_cpus": num_cpus, "object_store_memory": STORE_BYTES, "include_dashboard": False}
    return Cluster(initialize_head=True, head_node_args=node)


def in_open_session(worker_env: Mapping[str, str]) -> dict[str, str]:
    """The environment in which a program joins this process's Ray session, as `ray job submit` would start it.

    Its workers get `worker_env`. It starts in seconds, and its workers outlive it for a moment when it is killed.
    """
    job = {"runtime_env": {"env_vars": dict(worker_env)}}
    return {"RAY_ADDRESS": ray.get_runtime_context().gcs_address, "RAY_JOB_CONFIG_JSON_ENV_VAR": json.dumps(job)}


def run_here(*argv: object) -> Outcome:
    """Run the job in this process, in its open Ray session."""
    return run_main(main, *argv)


def run_inline(*argv: object) -> Outcome:
    """Run the job in this process, without Ray."""
    return run_main(INLINE_JOB, *argv)


def run_main(main: Callable[[Sequence[str]], int], *argv: object) -> Outcome:
    """Run the `main` of any job in this process."""
    stdout, stderr = io.StringIO(), io.StringIO()
    with redirect_stdout(stdout), redirect_stderr(stderr):
        exit_code = main([str(word) for word in argv])
    return Outcome(exit_code, stdout.getvalue(), stderr.getvalue())


def run_alone(*argv: object, env: Mapping[str, str] | None = None) -> Outcome:
    """Run the job as its user does: a process of its own, which starts Ray itself."""
    return run_program([sys.executable, JOB, *argv], env=env)


def run_program(command: Sequence[object], *, env: Mapping[str, str] | None = None) -> Outcome:
    """Run a program to its end; one that hangs fails the test."""
    with started(command, env=env) as process:
        stdout, stderr = process.communicate(timeout=PATIENCE_SECONDS)
    return Outcome(process.returncode, stdout, stderr)


@contextmanager
def started(command: Sequence[object], *, env: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """Start a program in a session of its own; whatever is left of it in the end is killed."""
    process = subprocess.Popen(
        [str(word) for word in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # `local`: a cluster that happens to run on this machine is none of the test's business.
        env={**os.environ, "RAY_ADDRESS": "local", **(env or {})},
    )
    with process:
        try:
            yield process
        finally:
            kill_family(process.pid)


def wait_until(
    when: Callable[[], bool], process: subprocess.Popen[str] | Forked | None = None, *, every: float = 0.02
) -> None:
    """Look once in `every` seconds until `when` holds; fail if it does not in time, or if the process ends before."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not when():
        assert process is None or process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(every)


def kill_family(leader: int) -> None:
    """SIGKILL a session's leader and all below it, Ray's processes included, and wait until they are gone."""
    below = family_of(leader)
    while family := [
        pid for pid, status in processes() if (status.session == leader or pid in below) and status.state not in "ZX"
    ]:
        for pid in family:
            kill(pid)
        time.sleep(0.05)


def kill(pid: int) -> None:
    """SIGKILL one process; one that is gone is fine."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


@dataclass(frozen=True)
class ProcessStatus:
    """What Linux tells of a process."""

    state: str
    parent: int
    session: int


def processes() -> Iterator[tuple[int, ProcessStatus]]:
    """Every process of this machine."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                state, parent, _, session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
            except (FileNotFoundError, ProcessLookupError):
                continue
            yield int(folder.name), ProcessStatus(state, int(parent), int(session))


def title_of(pid: int) -> str:
    """The command line of a process, which Ray's workers overwrite; empty for one that is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def family_of(pid: int) -> set[int]:
    """The process `pid` and all below it."""
    table = dict(processes())
    found, level = set[int](), {pid} & table.keys()
    while level:
        found |= level
        level = {child for child, status in table.items() if status.parent in level}
    return found


def descendants(pid: int, title: str = "") -> list[int]:
    """The processes below `pid` whose title begins with `title`."""
    return [below for below in family_of(pid) if below != pid and title_of(below).startswith(title)]


def manifest_of(output: Path) -> dict[str, Any]:
    """`_SUCCESS`."""
    manifest: dict[str, Any] = json.loads((output / "_SUCCESS").read_text())
    return manifest


def report_of(output: Path) -> dict[str, Any]:
    """The report of the published plan, or of the only one."""
    published = (output / "_SUCCESS").exists()
    plan_id = manifest_of(output)["plan_id"] if published else next((output / "_runs").iterdir()).name
    report: dict[str, Any] = json.loads((output / "_runs" / plan_id / "report.json").read_text())
    return report


def labelled_rows(output: Path) -> pa.Table:
    """What the manifest names, in its order."""
    return pa.concat_tables([pq.read_table(output / entry["path"]) for entry in manifest_of(output)["files"]])


def rejected_rows(output: Path) -> pa.Table:
    """The rows without a label, in the order of the manifest."""
    return pa.concat_tables([pq.read_table(output / entry["path"]) for entry in manifest_of(output)["rejected_files"]])


def visible_files(output: Path) -> list[str]:
    """What a reader of Parquet folders sees: names without a leading `_` or `.`."""
    names = [path.relative_to(output) for path in output.rglob("*") if path.is_file()]
    return sorted(str(name) for name in names if not any(part.startswith(("_", ".")) for part in name.parts))


def state_of(output: Path, pattern: str = "*") -> dict[str, tuple[str, int]]:
    """Bytes, as a digest, and time of modification of every file."""
    files = [path for path in output.rglob(pattern) if path.is_file()]
    return {
        str(path.relative_to(output)): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in files
    }


def verify(output: Path, source: Path) -> None:
    """The independent recount of a published run, from its files and its input alone, finds nothing."""
    verified = run_main(verify_labels.main, "--output", output, "--input", source)
    assert verified.exit_code == 0, f"{verified.stdout}\n{verified.stderr}"


def staged_units(output: Path) -> list[Path]:
    """The finished units that are not published."""
    return sorted((output / "_units").glob("?" * 16 + ".parquet"))
