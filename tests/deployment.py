"""What the files for operators have in common: versions, placeholders, programs that check them."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml
from ray.scripts.scripts import start

import albert_infer
from albert_infer.errors import AlbertInferError

ROOT: Final = Path(__file__).resolve().parent.parent
DEPLOY: Final = ROOT / "deploy"
PLACEHOLDER: Final = re.compile(r"FILL-IN(?:-[A-Z]+)+")
ALL_ADDRESSES: Final = re.compile(r"0\.0\.0\.0/0|::/0")


def documents(path: Path) -> list[Any]:
    """The documents of a YAML file."""
    return list(yaml.safe_load_all(path.read_text()))


def locked_version(package: str) -> str:
    """The version of `package` in constraints.txt."""
    pins = (line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    return next(version.strip() for name, version in pins if name == package)


def image_tag() -> str:
    """The tag that the image of this checkout has."""
    return f"{albert_infer.__version__}-ray{locked_version('ray')}"


def image_environment() -> dict[str, str]:
    """The variables that deploy/Dockerfile sets, by name."""
    lines = (line.split()[1:] for line in (DEPLOY / "Dockerfile").read_text().splitlines() if line.startswith("ENV "))
    pairs = (word.partition("=") for words in lines for word in words)
    return {name: value for name, _, value in pairs}


def keepalive() -> dict[str, str]:
    """Of the image's variables those that say how soon a call to a machine that does not answer fails."""
    return {name: value for name, value in image_environment().items() if name.startswith("RAY_grpc_client_keepalive")}


def program(name: str) -> str:
    """A program that came with the dev extra, beside the interpreter or on the path."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    assert found, f"{name} is not installed; it comes with the extra dev"
    return found


@cache
def ray_start_options() -> set[str]:
    """The options of `ray start`, each as `--name`."""
    return {name for parameter in start.params for name in parameter.opts}


def ends() -> list[type[AlbertInferError]]:
    """Every way in which a job can end other than well."""
    return list(_below(AlbertInferError))


def _below(error: type[AlbertInferError]) -> Iterator[type[AlbertInferError]]:
    for kind in error.__subclasses__():
        yield kind
        yield from _below(kind)


def placeholders(text: str) -> set[str]:
    """The names that an operator has to fill in."""
    return set(PLACEHOLDER.findall(text))
