"""`deploy/Dockerfile`, as far as it can be tried without a container engine: the image itself is not built here."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from shutil import copy2, copytree, ignore_patterns
from typing import Final

import pytest
from deployment import DEPLOY, ROOT, image_environment, image_tag, keepalive, program
from packaging.specifiers import SpecifierSet

FILE: Final = DEPLOY / "Dockerfile"


def instructions() -> list[tuple[str, str]]:
    """Each instruction and its argument, continued lines joined, comments left out."""
    lines = [line for line in FILE.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    parts = (line.partition(" ") for line in joined.splitlines() if line)
    return [(name, argument.strip()) for name, _, argument in parts]


def arguments(instruction: str) -> list[str]:
    return [argument for name, argument in instructions() if name == instruction]


def test_hadolint_finds_nothing() -> None:
    subprocess.run([program("hadolint"), FILE], check=True)


def test_the_base_is_one_version_of_the_python_that_the_lock_file_was_made_for() -> None:
    [base] = arguments("FROM")
    found = re.fullmatch(r"python:(\d+\.\d+)\.\d+-slim-[a-z]+", base)
    assert found, f"{base} may become another one without a commit"
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert found[1] in SpecifierSet(wanted)
    assert found[1] == "{}.{}".format(*sys.version_info), "the tests run with another Python than the image"


def test_libraries_come_from_the_lock_file_and_nothing_from_a_downloaded_script() -> None:
    installs = [run for run in arguments("RUN") if "pip install" in run]
    assert [("--constraint constraints.txt" in run, "--no-deps" in run) for run in installs] == [
        (True, False),
        (False, True),
    ]
    assert not re.search(r"curl|wget [^\n]*(\||http)|bash -c|ADD ", "\n".join(arguments("RUN") + arguments("ADD")))


def test_rays_autoscaler_finds_the_library_that_starts_machines() -> None:
    # Ray's own dependencies leave it to whoever runs on AWS.
    [libraries, _] = [run for run in arguments("RUN") if "pip install" in run]
    assert libraries.endswith(" . boto3")
    assert any(line.startswith("boto3==") for line in (ROOT / "constraints.txt").read_text().splitlines())


def test_the_container_is_not_root_and_asks_for_rays_token() -> None:
    assert instructions()[-1] == ("USER", "1000")
    assert image_environment()["RAY_AUTH_MODE"] == "token"
    assert not re.search(r"AWS_|TOKEN=|SECRET|PASSWORD", FILE.read_text())


@pytest.mark.process
def test_a_call_to_a_machine_that_froze_fails_within_half_a_minute() -> None:
    milliseconds = [int(value) for value in keepalive().values()]
    assert len(milliseconds) == 2
    assert sum(milliseconds) <= 30_000
    assert min(milliseconds) >= 10_000, "a process that the machine has no time for is not dead"
    for name in keepalive():
        get = f"ray._raylet.Config.{name.removeprefix('RAY_')}()"
        command = [sys.executable, "-c", f"import ray._raylet; print({get})"]
        known = subprocess.run(command, env={**os.environ, name: "4321"}, capture_output=True, text=True, check=True)
        assert known.stdout == "4321\n", f"Ray reads no {name}"


def test_nothing_reaches_the_image_but_what_is_named() -> None:
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert rules[0] == "*", "what is not named stays outside"
    allowed = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    copied = {source.rstrip("/") for argument in arguments("COPY") for source in argument.split()[:-1]}
    assert {source for source in copied if not allowed & {source, *map(str, Path(source).parents)}} == set()
    assert allowed <= copied


@pytest.mark.process
def test_what_is_copied_is_enough_to_install_the_package_and_its_files(tmp_path: Path) -> None:
    context = tmp_path / "app"
    for argument in arguments("COPY"):
        *sources, target = argument.split()
        for source in sources:
            place = context / target if not target.endswith("/") else context / target / Path(source).name
            place.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / source).is_dir():
                copytree(ROOT / source, place, dirs_exist_ok=True, ignore=ignore_patterns("__pycache__"))
            else:
                copy2(ROOT / source, place)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*command, "--wheel-dir", tmp_path, context], check=True)
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        inside = set(packed.namelist())
    tracked = subprocess.run(
        ["git", "ls-files", "albert_infer"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert set(tracked) <= inside
    assert (context / "deploy" / "nightly.sh").stat().st_mode & 0o111
    assert (context / "jobs" / "label_pairs.py").exists()


def test_make_image_gives_it_the_tag_that_the_clusters_start() -> None:
    told = subprocess.run(
        ["make", "--no-print-directory", "--dry-run", "image"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert told.strip() == f"docker build --file deploy/Dockerfile --tag albert-infer:{image_tag()} ."


@pytest.mark.parametrize("name", ["g++", "rsync", "wget"])
def test_the_programs_that_ray_and_kuberay_look_for_are_there(name: str) -> None:
    [system] = [run for run in arguments("RUN") if "apt-get install" in run]
    assert name in system.split()
