"""The name of the program that the package installs, and how one calls it from elsewhere."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Final

from albert_infer import __version__
from albert_infer.errors import SettingsError

PROGRAM: Final = "albert-infer"
# Stands before the command where another machine asks for it.
REQUIRE_VERSION: Final = "--require-version"


def refuse_other_version(wanted: str) -> None:
    """Raise SettingsError if this is not the version that was asked for: two versions may label in two ways."""
    if wanted != __version__:
        remedy = "install that version in the image of every node, or submit a checkout with --package upload"
        raise SettingsError(f"{PROGRAM} {wanted}", f"{__version__} is installed here", remedy)


def this_program() -> str:
    """The word that starts this program again: its name if the shell finds it by that, else its path."""
    path = Path(sys.argv[0])
    found = shutil.which(path.name)
    return path.name if found and path.exists() and path.samefile(found) else str(path)


def from_here(word: str) -> str:
    """An absolute path below the current folder as one writes it there; anything else as it is."""
    here, path = Path.cwd(), Path(word)
    return str(path.relative_to(here)) if path.is_absolute() and path.is_relative_to(here) else word
