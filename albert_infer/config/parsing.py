"""Argv, environment and TOML file to settings; the library reads them all from the declarations in `settings`."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from errno import EISDIR
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, TypeVar

from cyclopts import App, CycloptsError, Parameter
from cyclopts.config import Dict, Env, Toml
from pydantic import BaseModel, ValidationError

from albert_infer.config.cleaning import CleanSettings
from albert_infer.config.conversion import ConvertSettings
from albert_infer.config.evaluation import EvaluateSettings
from albert_infer.config.finetuning import FinetuneSettings
from albert_infer.config.nightly import NightlySettings
from albert_infer.config.settings import DATA, LabelSettings
from albert_infer.config.submission import SubmitSettings
from albert_infer.config.verification import VerifySettings
from albert_infer.errors import SettingsError
from albert_infer.logs import LogFormat

VARIABLE_PREFIX = "ALBERT_INFER_"
# What Ray Data reads to allow pickles inside of Parquet files.
UNPICKLING_VARIABLES = (
    "RAY_DATA_AUTOLOAD_PICKLE_OBJECT_SCALAR",
    "RAY_DATA_AUTOLOAD_CLOUDPICKLE_TENSOR_METADATA",
    "RAY_DATA_AUTOLOAD_PYEXTENSIONTYPE",
)

# The settings of every job: a variable of one is no mistake in the environment of another.
JOBS = (
    LabelSettings,
    NightlySettings,
    SubmitSettings,
    CleanSettings,
    VerifySettings,
    EvaluateSettings,
    FinetuneSettings,
    ConvertSettings,
)

Settings = TypeVar("Settings", bound=BaseModel)


def parse_settings(settings: type[Settings], argv: Sequence[str], *, program: str, about: str) -> Settings | None:
    """The settings that `argv`, the environment and `--config FILE` add up to; None if only help was asked for.

    Raises SettingsError, naming the setting and the choices.
    """
    _refuse_unknown_variables(settings, program)
    _refuse_unpickling(program)
    parsed: list[Settings] = []
    app = _app(program, about, lambda *, settings: parsed.append(settings), settings)
    try:
        app.meta(list(argv), exit_on_error=False, print_error=False)
    except (CycloptsError, OSError, ValueError, RecursionError) as error:
        raise SettingsError(f"the settings of {program}", _found(error), f"see {program} --help") from error
    return parsed[0] if parsed else None


def flags_of(settings: BaseModel, names: Collection[str]) -> list[str]:
    """The flags that say again what was said of these settings, wherever it was said; defaults are left out."""
    said = {name: getattr(settings, name) for name in type(settings).model_fields if name in settings.model_fields_set}
    return [
        f"--{name.replace('_', '-')}={_as_flag(value)}"
        for name, value in said.items()
        if name in names and value is not None
    ]


def _as_flag(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(value) if isinstance(value, tuple) else str(value)


def asked_log_format(argv: Sequence[str]) -> LogFormat:
    """The log format that flag or environment ask for, whatever else is wrong with the settings; else text."""
    words = [part for word in argv for part in word.split("=", 1)]
    flags = [value for name, value in pairwise(words) if name == "--log-format"]
    asked = flags[-1] if flags else os.environ.get(f"{VARIABLE_PREFIX}LOG_FORMAT")
    return "json" if asked == "json" else "text"


def _app(program: str, about: str, receive: Callable[..., None], settings: type[BaseModel]) -> App:
    """A program with one flag per field of `settings`, and `--config` before all others."""
    app = App(name=program, help=about, version_flags=[], result_action="return_value")
    rest = [_aws_environment()] if "s3_endpoint" in settings.model_fields else []
    app.config = [_environment(), *rest]
    receive.__annotations__ = {"settings": settings}
    app.default(receive)

    @app.meta.default
    def with_config(
        *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
        config: Annotated[
            Path | None,
            Parameter(
                group=DATA, show_env_var=False, help="A TOML file with any of these settings; flags win over it."
            ),
        ] = None,
    ) -> None:
        if config is not None:
            if config.is_dir():  # the library has no message for it
                raise IsADirectoryError(EISDIR, os.strerror(EISDIR), str(config))
            app.config = [_environment(), Toml(config, must_exist=True), *rest]
        app(tokens, exit_on_error=False, print_error=False)

    return app


def _refuse_unknown_variables(settings: type[BaseModel], program: str) -> None:
    """A variable that looks like a setting and is none is a mistake, as an unknown flag is.

    One of another job is none: a night that labels and verifies has one environment.
    """
    known = {f"{VARIABLE_PREFIX}{name.upper()}" for declared in (settings, *JOBS) for name in declared.model_fields}
    unknown = sorted(name for name in os.environ if name.startswith(VARIABLE_PREFIX) and name not in known)
    if unknown:
        found = f"the environment has {unknown[0]}, which is no setting"
        raise SettingsError(f"the settings of {program}", found, f"see {program} --help")


def _refuse_unpickling(program: str) -> None:
    """With one of these set, Ray runs code that a Parquet file brings along."""
    for name in UNPICKLING_VARIABLES:
        if os.environ.get(name, "").lower() in {"1", "true"}:
            raise SettingsError(f"the environment of {program}", f"{name} is set", "unset it: no input is trusted")


def _environment() -> Env:
    return Env(VARIABLE_PREFIX, command=False)


def _aws_environment() -> Dict:
    """Read here rather than left to the SDK, so that workers on other machines use the driver's endpoint."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL")
    return Dict({"s3_endpoint": endpoint} if endpoint else {}, source="AWS_ENDPOINT_URL")


def _found(error: Exception) -> str:
    """One line of what the library says, without its links."""
    cause = error.__cause__
    if isinstance(cause, ValidationError):
        return "; ".join(f"{_place(entry)}{entry['msg'].removeprefix('Value error, ')}" for entry in cause.errors())
    if isinstance(error, RecursionError):
        return "a value is nested too deeply"
    if isinstance(error, OSError):
        return f"--config {error.filename}: {error.strerror}"
    return " ".join(str(error).split())


def _place(entry: Any) -> str:
    return "".join(f"--{str(part).replace('_', '-')} " for part in entry["loc"][:1])
