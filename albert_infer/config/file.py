"""Reads the TOML file of `--config`."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Final

from pydantic import BaseModel

from albert_infer.config import removed
from albert_infer.errors import SettingsError

REMEDY: Final = 'write each setting on its own line, as `unit_rows = 1000` or `model = "builtin"`'
# Flags that are not settings. Cyclopts would ignore them in a file.
NO_SETTINGS: Final = ("config", "help-all", "help_all", "--help", "-h")


def settings_in(path: Path, settings: type[BaseModel]) -> dict[str, object]:
    """The keys and values of the file. Raises SettingsError that names the file.

    A byte order mark at its beginning is ignored.
    """
    asked = f"--config {path}"
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise SettingsError(asked, f"{error.strerror}", "give a TOML file that can be read") from error
    try:
        values = tomllib.loads(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise SettingsError(asked, f"line {line} is not UTF-8", "save the file as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(asked, f"it is not valid TOML: {error}", REMEDY) from error
    except RecursionError as error:
        raise SettingsError(asked, "a value is nested too deeply", REMEDY) from error
    for name in NO_SETTINGS:
        if name in values:
            raise SettingsError(asked, f"it has {name}, which is not a setting of a file", "leave it out")
    removed.refuse_keys(values, settings, asked)
    return values
