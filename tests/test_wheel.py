"""The package as users have it: a wheel, installed into an environment of its own, in a folder without a checkout."""

from __future__ import annotations

import platform
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
from job_runs import Outcome, run_program

from albert_infer import __version__
from albert_infer.engine.cpu.prebuilt import COMPILERS, VARIANTS
from albert_infer.engine.processor import cpu_flags
from albert_infer.operations.cli import COMMANDS

ROOT = Path(__file__).parents[1]
PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input")
INSIDE = {
    "albert_infer/model/builtin/checkpoint/model.safetensors",
    "albert_infer/model/builtin/pairs.parquet",
    "albert_infer/model/builtin/probe.parquet",
    "albert_infer/engine/cpu/kernels.cpp",
    "albert_infer/learning/evaluation/templates/evaluation.html.j2",
    "albert_infer/py.typed",
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the files that git has or would have: what an earlier build left is not in it."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, source / name)
    build = [*PIP, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(target), str(source)]
    subprocess.run(build, check=True, capture_output=True)
    [built] = target.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the programs of a fresh environment with the wheel, which finds its libraries in ours."""
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, with_pip=False, symlinks=True)
    subprocess.run([PIP[0], "-m", "pip", "--python", home / "bin" / "python", *PIP[3:], "install", "--no-deps",
                    "--no-index", wheel], check=True, capture_output=True)  # fmt: skip
    [packages] = home.glob("lib/python*/site-packages")
    # Python follows no link inside of a folder that a link names: an editable install of ours is not seen there.
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return home / "bin"


def run(program: Path, *argv: object) -> Outcome:
    """Run a program of the environment, without our own folders on its path."""
    return run_program([program, *argv], env={"PYTHONPATH": ""})


@pytest.mark.process
def test_the_wheel_has_the_files_of_the_package_and_no_others(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as packed:
        names = set(packed.namelist())
        [entry_points] = [packed.read(name).decode() for name in names if name.endswith("entry_points.txt")]
    assert names >= INSIDE
    assert {name.split("/")[0] for name in names} == {"albert_infer", f"albert_infer-{__version__}.dist-info"}
    assert entry_points.split() == ["[console_scripts]", "albert-infer", "=", "albert_infer.operations.cli:main"]


@pytest.mark.skipif(not any(map(shutil.which, COMPILERS)), reason="no compiler builds the wheel")
@pytest.mark.process
def test_a_wheel_that_a_compiler_built_has_kernels_and_the_name_of_its_platform(wheel: Path) -> None:
    machine = platform.machine()
    expected = {f"kernels-{variant.name}" for variant in VARIANTS if variant.machine == machine}
    with zipfile.ZipFile(wheel) as packed:
        libraries = {Path(name).name.rpartition("-")[0] for name in packed.namelist() if name.endswith(".so")}
    assert libraries == expected
    assert wheel.stem.endswith(f"-py3-none-linux_{machine}" if expected else "-py3-none-any")


@pytest.mark.skipif(
    not any(each.machine == platform.machine() and each.needs <= cpu_flags() for each in VARIANTS),
    reason="a wheel has no kernels for this processor",
)
@pytest.mark.skipif(not any(map(shutil.which, COMPILERS)), reason="no compiler builds the wheel")
@pytest.mark.process
def test_an_installed_package_has_kernels_without_a_compiler(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    environment = {"PYTHONPATH": "", "PATH": str(tmp_path), "HOME": str(tmp_path), "CUDA_VISIBLE_DEVICES": ""}
    code = "from albert_infer import Labeler; print(Labeler(precision='int8', device='cpu')._classifier.engine.kernels)"
    done = run_program([programs / "python", "-c", code], env=environment)
    assert "state=<KernelState.COMPILED" in done.stdout, done.stderr
    assert "problem=''" in done.stdout
    assert list(tmp_path.glob(".cache/albert-infer/*")) == []


@pytest.mark.ray
@pytest.mark.process
def test_an_installed_package_labels_and_verifies_in_any_folder(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    place = run(programs / "python", "-c", "import albert_infer; print(albert_infer.__file__)").stdout
    assert Path(place.strip()).is_relative_to(programs.parent)
    demo = run(programs / "albert-infer", "demo")
    assert demo.exit_code == 0, demo.stderr
    assert "306 of 306 pairs labelled" in demo.stdout
    assert (tmp_path / "demo-output" / "_SUCCESS").exists()
    # What it says to do next, as it is printed, and the recount of what that labels.
    [following] = re.findall(r"^(?:next +)?(\S+ label --input .+)$", demo.stdout, re.M)
    program, *words = shlex.split(following)
    labelled = run(Path(program), *words)
    assert (words[0], labelled.exit_code) == ("label", 0), labelled.stderr
    verified = run(programs / "albert-infer", "verify", "--output", "demo-labels/", "--input", words[2])
    assert verified.exit_code == 0, verified.stdout + verified.stderr
    assert verified.summary["program"] == "albert-infer verify"


@pytest.mark.process
def test_an_installed_package_has_every_command_and_submits_no_checkout(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(programs / "albert-infer", "--version").stdout == f"{__version__}\n"
    told = run(programs / "albert-infer", "--help").stdout
    assert all(re.search(rf"^│ {name} ", told, re.M) for name in COMMANDS)
    roots = ("--input-root", "in", "--output-root", "out", "--address", "http://127.0.0.1:1")
    refused = run(programs / "albert-infer", "submit", *roots, "--package", "upload")
    assert refused.exit_code == 2
    assert "--package upload: this package was installed without its job scripts" in refused.stderr
