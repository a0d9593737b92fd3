"""The TOML file of `--config`, as the settings that it gives."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Final

from pydantic import BaseModel

from albert_infer.config import gone
from albert_infer.errors import SettingsError

REMEDY: Final = 'write each setting on a line of its own, as `unit_rows = 1000` or `model = "builtin"`'
# What the library would pass over: flags that are no settings.
NO_SETTINGS: Final = ("config", "help-all", "help_all", "--help", "-h")


def settings_in(path: Path, settings: type[BaseModel]) -> dict[str, object]:
    """What the file says of these settings. Raises SettingsError, naming the file.

    Editors may have begun it with a byte order mark.
    """
    asked = f"--config {path}"
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise SettingsError(asked, f"{error.strerror}", "give a TOML file that can be read") from error
    try:
        found = tomllib.loads(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise SettingsError(asked, f"line {line} is not UTF-8", "save the file as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(asked, f"it is no TOML: {error}", REMEDY) from error
    except RecursionError as error:
        raise SettingsError(asked, "a value is nested too deeply", REMEDY) from error
    for name in NO_SETTINGS:
        if name in found:
            raise SettingsError(asked, f"it has {name}, which is no setting of a file", "leave it out")
    gone.refuse_keys(found, settings, asked)
    return found
