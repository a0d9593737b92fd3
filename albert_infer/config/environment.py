"""What the package reads of the environment: the variables of settings, and those of Ray."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from itertools import pairwise

from pydantic import BaseModel

from albert_infer.common.logs import LogFormat
from albert_infer.config import gone
from albert_infer.config.cleaning import CleanSettings
from albert_infer.config.conversion import ConvertSettings
from albert_infer.config.evaluation import EvaluateSettings
from albert_infer.config.finetuning import FinetuneSettings
from albert_infer.config.groups import VARIABLE_PREFIX, variable_of
from albert_infer.config.nightly import NightlySettings
from albert_infer.config.settings import LabelSettings
from albert_infer.config.submission import SubmitSettings
from albert_infer.config.verification import VerifySettings
from albert_infer.errors import SettingsError

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


def asked_log_format(argv: Sequence[str]) -> LogFormat:
    """The log format that flag or environment ask for, whatever else is wrong with the settings; else text."""
    words = [part for word in argv for part in word.split("=", 1)]
    flags = [value for name, value in pairwise(words) if name == "--log-format"]
    asked = flags[-1] if flags else os.environ.get(variable_of("log_format"))
    return "json" if asked == "json" else "text"


def refuse_unknown_variables(settings: type[BaseModel], program: str) -> None:
    """A variable that looks like a setting and is none is a mistake, as an unknown flag is.

    One of another job is none: a night that labels and verifies has one environment. Nor is one of Kubernetes.
    """
    asked = f"the settings of {program}"
    gone.refuse_variables(os.environ, asked)
    known = {variable_of(name) for declared in (settings, *JOBS) for name in declared.model_fields}
    unknown = sorted(
        name
        for name in os.environ
        if name.startswith(VARIABLE_PREFIX) and name not in known and not SERVICE_VARIABLE.fullmatch(name)
    )
    if unknown:
        found = f"the environment has {unknown[0]}, which is no setting"
        raise SettingsError(asked, found, f"see {program} --help-all")


def refuse_unpickling(program: str) -> None:
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
