"""A process without compiled kernels labels as well, and says once that it is slower, why, and what to do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from albert_infer.engine.cpu.compilation import INSTALL
from albert_infer.engine.cpu.prebuilt import COMPILERS, VARIANTS, compile_variants, prebuilt_path

ROOT = Path(__file__).parents[1]
NO_COMPILER = f"compiled kernels for int8 on cpu: PATH has no C++ compiler ({', '.join(COMPILERS)})"
SLOWER = f"{NO_COMPILER}, so labelling is slower; {INSTALL}"
LABELER = """
from albert_infer import Labeler
labeler = Labeler(precision="int8", device="cpu")
for _ in range(2):
    print(labeler.label([("A man plays the guitar.", "Someone makes music.")])["label"].to_pylist())
"""
RUN = """
import sys
from albert_infer.common import logs
from albert_infer.config import LabelSettings
from albert_infer.job.run import label_pairs
from albert_infer.pipeline.inline import InlineExecutor
settings = LabelSettings(input=sys.argv[1], output=sys.argv[2], precision="int8", gpus_per_worker=0, unit_rows=1000)
with logs.lines_on_stderr("text"):
    print(label_pairs(settings, executor=InlineExecutor()).to_text("out"))
"""
PAIRS = ROOT / "albert_infer" / "model" / "builtin" / "pairs.parquet"

pytestmark = pytest.mark.process
with_compiler = pytest.mark.skipif(not any(map(shutil.which, COMPILERS)), reason="no compiler")


def ended(code: str, *arguments: object, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """A process of its own, since a process compiles once."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", **env}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment)


def warnings_of(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in done.stderr.splitlines() if "compiled kernels" in line]


@pytest.fixture
def no_compiler(tmp_path: Path) -> Mapping[str, str]:
    return {"PATH": str(tmp_path / "nothing")}


def test_a_labeler_without_a_compiler_labels_and_warns_once(no_compiler: Mapping[str, str]) -> None:
    done = ended(LABELER, env=no_compiler)
    assert done.stdout == "['entailment']\n" * 2
    assert warnings_of(done) == [SLOWER]


def test_a_run_without_a_compiler_warns_once_and_reports_it(no_compiler: Mapping[str, str], tmp_path: Path) -> None:
    done = ended(RUN, PAIRS, tmp_path / "out", env=no_compiler)
    [warning] = warnings_of(done)
    assert warning.startswith("warning: a worker on ")
    assert warning.endswith(SLOWER)
    [path] = (tmp_path / "out").glob("_runs/*/report.json")
    [kernels] = json.loads(path.read_text())["kernels"]
    assert (kernels["state"], kernels["remedy"]) == ("missing", INSTALL)
    assert f"slow         {SLOWER} (1 machine)" in done.stdout


@with_compiler
def test_a_cache_that_others_can_write_to_is_reported_and_the_kernels_are_still_compiled(tmp_path: Path) -> None:
    cache = tmp_path / ".cache" / "albert-infer"
    cache.mkdir(parents=True)
    cache.chmod(0o777)
    # Another folder for the temporary files, in which nothing lies yet.
    (tmp_path / "tmp").mkdir()
    done = ended(LABELER, env={"HOME": str(tmp_path), "TMPDIR": str(tmp_path / "tmp")})
    [warning] = warnings_of(done)
    problem = f"the cache folder {cache} is not private (other users can write to it (mode 0777)), so it is not used"
    assert warning.startswith(f"compiled kernels for int8 on cpu: {problem}; delete {cache}, or make it")
    assert list(cache.iterdir()) == []


@with_compiler
def test_a_machine_with_a_compiler_warns_of_nothing() -> None:
    assert warnings_of(ended(LABELER, env={})) == []


def test_a_variant_is_for_a_processor_with_all_its_features_and_for_this_very_source(tmp_path: Path) -> None:
    source = tmp_path / "asked.cpp"
    source.write_text('extern "C" int answer() { return 41; }')
    for machine in {variant.machine for variant in VARIANTS}:
        everything = frozenset().union(*(variant.needs for variant in VARIANTS))
        assert prebuilt_path(source, machine, everything) is None
    assert list(compile_variants(source, source, "no-such-machine")) == []
    [problem] = compile_variants(source, source, "x86_64", compilers=("no-such-compiler",))
    assert "no-such-compiler" in problem


@with_compiler
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="compiles for x86-64")
def test_the_fastest_variant_of_a_processor_is_taken(tmp_path: Path) -> None:
    source = tmp_path / "asked.cpp"
    source.write_text('extern "C" int answer() { return 41; }')
    assert list(compile_variants(source, source, "x86_64")) == []
    variants = [variant for variant in VARIANTS if variant.machine == "x86_64"]
    chosen = [prebuilt_path(source, "x86_64", variant.needs) for variant in variants]
    assert [path and path.name.rpartition("-")[0] for path in chosen] == [f"asked-{each.name}" for each in variants]
    assert prebuilt_path(source, "x86_64", frozenset({"avx2"})) is None
    source.write_text('extern "C" int answer() { return 42; }')
    assert prebuilt_path(source, "x86_64", variants[0].needs) is None
