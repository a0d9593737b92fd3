"""Argv, environment and TOML file to settings; the library reads them all from the declarations in `settings`."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Sequence
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, TypeGuard, TypeVar

from cyclopts import (
    App,
    CycloptsError,
    MissingArgumentError,
    Parameter,
    RepeatArgumentError,
    UnknownOptionError,
    UnusedCliTokensError,
)
from cyclopts.config import Dict, Env
from pydantic import BaseModel, ValidationError

from albert_infer.common.logs import LogFormat
from albert_infer.config.cleaning import CleanSettings
from albert_infer.config.conversion import ConvertSettings
from albert_infer.config.evaluation import EvaluateSettings
from albert_infer.config.file import settings_in
from albert_infer.config.finetuning import FinetuneSettings
from albert_infer.config.nightly import NightlySettings
from albert_infer.config.settings import DATA, LabelSettings
from albert_infer.config.submission import SubmitSettings
from albert_infer.config.verification import VerifySettings
from albert_infer.errors import SettingsError

VARIABLE_PREFIX = "ALBERT_INFER_"
# What Kubernetes puts into every pod of a namespace for a service whose name begins with `albert-infer`.
SERVICE_VARIABLE = re.compile(
    VARIABLE_PREFIX + r"(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)"
)
# Ray's own: the cluster to join.
RAY_ADDRESS = "RAY_ADDRESS"
# What Ray Data reads to allow pickles inside of Parquet files.
UNPICKLING_VARIABLES = (
    "RAY_DATA_AUTOLOAD_PICKLE_OBJECT_SCALAR",
    "RAY_DATA_AUTOLOAD_CLOUDPICKLE_TENSOR_METADATA",
    "RAY_DATA_AUTOLOAD_PYEXTENSIONTYPE",
)

# What other programs call a start that changes nothing.
DRY_RUN = frozenset({"--dry-run", "--dryrun", "--no-act", "--what-if", "-n"})

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
    except (CycloptsError, ValueError, RecursionError) as error:
        remedy = _remedy(error, settings) or f"see {program} --help"
        raise SettingsError(f"the settings of {program}", _found(error, settings), remedy) from error
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
    paragraphs = "\n\n".join(" ".join(paragraph.split()) for paragraph in about.split("\n\n"))
    # Plain, as markup would take `<NAME>` for a tag.
    app = App(name=program, help=paragraphs, help_format="plaintext", version_flags=[], result_action="return_value")
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
            config = config.expanduser()
            app.config = [_environment(), Dict(settings_in(config), source=str(config)), *rest]
        app(tokens, exit_on_error=False, print_error=False)

    return app


def _refuse_unknown_variables(settings: type[BaseModel], program: str) -> None:
    """A variable that looks like a setting and is none is a mistake, as an unknown flag is.

    One of another job is none: a night that labels and verifies has one environment. Nor is one of Kubernetes.
    """
    known = {f"{VARIABLE_PREFIX}{name.upper()}" for declared in (settings, *JOBS) for name in declared.model_fields}
    unknown = sorted(
        name
        for name in os.environ
        if name.startswith(VARIABLE_PREFIX) and name not in known and not SERVICE_VARIABLE.fullmatch(name)
    )
    if unknown:
        found = f"the environment has {unknown[0]}, which is no setting"
        raise SettingsError(f"the settings of {program}", found, f"see {program} --help")


def _refuse_unpickling(program: str) -> None:
    """With one of these set, Ray runs code that a Parquet file brings along."""
    for name in UNPICKLING_VARIABLES:
        if os.environ.get(name, "").lower() in {"1", "true"}:
            raise SettingsError(f"the environment of {program}", f"{name} is set", "unset it: no input is trusted")


def ray_address() -> str | None:
    """The cluster that the environment tells Ray to join, as it is written there; None for none."""
    return os.environ.get(RAY_ADDRESS) or None


def ray_variables() -> list[str]:
    """The names of the variables that the environment has for Ray."""
    return sorted(name for name in os.environ if name.startswith("RAY_"))


def job_server() -> str | None:
    """Where the environment says that jobs are submitted to; None if it does not."""
    return os.environ.get("RAY_API_SERVER_ADDRESS") or ray_address()


def ray_uses_tls() -> bool:
    """Whether Ray's processes speak TLS with each other."""
    return os.environ.get("RAY_USE_TLS", "").lower() in {"1", "true"}


def _environment() -> Env:
    return Env(VARIABLE_PREFIX, command=False)


def _aws_environment() -> Dict:
    """Read here rather than left to the SDK, so that workers on other machines use the driver's endpoint."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL")
    return Dict({"s3_endpoint": endpoint} if endpoint else {}, source="AWS_ENDPOINT_URL")


def _found(error: Exception, settings: type[BaseModel]) -> str:
    """One line of what the library says, without its links."""
    cause, unknown = error.__cause__, _unknown_flag(error)
    if unknown in DRY_RUN:
        return f"{unknown} is no setting"  # the library would guess another
    # A flag that is mistyped is why the right one is missing.
    if unknown is not None and _is_missing(error):
        return f"{unknown} is no setting{_guess(unknown, settings)}"
    if _is_missing(error) and error.unused_tokens:
        return f"{error.unused_tokens[0]} stands behind no flag, and {_name(error)} is missing"
    if _is_missing(error) and not isinstance(cause, ValidationError):
        return f"{_name(error)} is missing"
    if isinstance(cause, ValidationError):
        return "; ".join(f"{_place(entry)}{_told(entry)}" for entry in cause.errors())
    if isinstance(error, RecursionError):
        return "a value is nested too deeply"
    return " ".join(str(error).split())


def _unknown_flag(error: Exception) -> str | None:
    """The first flag of the command line that is none."""
    if isinstance(error, UnknownOptionError):
        return error.token.keyword
    unused = error.unused_tokens or [] if _is_missing(error) else []
    return next((word.partition("=")[0] for word in unused if word.startswith("-")), None)


def _is_missing(error: Exception) -> TypeGuard[MissingArgumentError]:
    """Whether a setting that must be given is not, rather than its value."""
    return isinstance(error, MissingArgumentError) and error.argument is not None and error.keyword is None


def _name(error: MissingArgumentError) -> str:
    return error.argument.name if error.argument is not None else ""


def _guess(unknown: str, settings: type[BaseModel]) -> str:
    """Which flag may have been meant."""
    flags = [f"--{name.replace('_', '-')}" for name in settings.model_fields]
    return "".join(f"; did you mean {flag}?" for flag in get_close_matches(unknown, flags, n=1))


def _remedy(error: Exception, settings: type[BaseModel]) -> str | None:
    """What to do about a mistake that is often made; None for all others."""
    if _unknown_flag(error) in DRY_RUN:
        return _dry_run_of(settings)
    again = isinstance(error, RepeatArgumentError) and error.token.keyword in {"--input", "--input-root"}
    if again or (isinstance(error, UnusedCliTokensError) and "input" in settings.model_fields):
        return "each setting is one flag and its value; of several inputs give the folder that holds all, without `*`"
    if _is_missing(error) and error.unused_tokens and _unknown_flag(error) is None:
        return f"if it is to be {_name(error)}, write {_name(error)} {error.unused_tokens[0]}"
    return None


def _dry_run_of(settings: type[BaseModel]) -> str:
    """What comes near to a dry run of the job with these settings."""
    if "max_rows" in settings.model_fields:
        tried = "settings, input, checkpoint, output and cluster, counts the rows and ends with exit code 3"
        return f"there is no dry run, but --max-rows 1 checks {tried} before anything is labelled"
    if "delete" in settings.model_fields:
        return "leave it out: without --delete nothing is removed"
    return "there is no dry run of this job; leave it out"


def _told(entry: Any) -> str:
    return "is missing" if entry["type"] == "missing" else str(entry["msg"].removeprefix("Value error, "))


def _place(entry: Any) -> str:
    return "".join(f"--{str(part).replace('_', '-')} " for part in entry["loc"][:1])
