"""The name of the installed program, and the words that call it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Final

from albert_infer import __version__
from albert_infer.errors import SettingsError

PROGRAM: Final = "albert-infer"
# Precedes the command in a job that another machine submits.
REQUIRE_VERSION: Final = "--require-version"


def refuse_other_version(wanted: str) -> None:
    """Raise SettingsError if this version is not the `wanted` one: two versions may label differently."""
    if wanted != __version__:
        remedy = "install that version in the image of every node, or submit a checkout with --package upload"
        raise SettingsError(f"{PROGRAM} {wanted}", f"{__version__} is installed here", remedy)


def this_program() -> str:
    """The word that starts this program: its name if the shell finds that name, else its path."""
    path = Path(sys.argv[0])
    installed = shutil.which(path.name)
    return path.name if installed and path.exists() and path.samefile(installed) else str(path)


def from_here(word: str) -> str:
    """Make an absolute path below the current folder relative; return any other word unchanged."""
    here, path = Path.cwd(), Path(word)
    return str(path.relative_to(here)) if path.is_absolute() and path.is_relative_to(here) else word
