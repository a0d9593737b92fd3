"""Everything that the package reads from the environment: variables of settings, and variables of Ray."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from itertools import pairwise

from pydantic import BaseModel

from albert_infer.common.logs import LogFormat
from albert_infer.config import removed
from albert_infer.config.cleaning import CleanSettings
from albert_infer.config.conversion import ConvertSettings
from albert_infer.config.evaluation import EvaluateSettings
from albert_infer.config.finetuning import FinetuneSettings
from albert_infer.config.groups import VARIABLE_PREFIX, variable_of
from albert_infer.config.nightly import NightlySettings
from albert_infer.config.planning import PlanSettings
from albert_infer.config.reporting import ReportSettings
from albert_infer.config.review import ReviewSettings
from albert_infer.config.settings import LabelSettings
from albert_infer.config.submission import SubmitSettings
from albert_infer.config.verification import VerifySettings
from albert_infer.errors import SettingsError

# Kubernetes sets these in every pod of a namespace that has a service named `albert-infer…`.
SERVICE_VARIABLE = re.compile(
    VARIABLE_PREFIX + r"(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)"
)
# Ray's variable for the cluster to join.
RAY_ADDRESS = "RAY_ADDRESS"
# Ray Data reads these, and then unpickles values inside Parquet files.
UNPICKLING_VARIABLES = (
    "RAY_DATA_AUTOLOAD_PICKLE_OBJECT_SCALAR",
    "RAY_DATA_AUTOLOAD_CLOUDPICKLE_TENSOR_METADATA",
    "RAY_DATA_AUTOLOAD_PYEXTENSIONTYPE",
)

# The settings of every job. Jobs may share an environment, so each accepts the variables of the others.
JOBS = (
    LabelSettings,
    PlanSettings,
    NightlySettings,
    SubmitSettings,
    CleanSettings,
    ReportSettings,
    ReviewSettings,
    VerifySettings,
    EvaluateSettings,
    FinetuneSettings,
    ConvertSettings,
)


def requested_log_format(argv: Sequence[str]) -> LogFormat:
    """The log format of the flag or the variable, even if other settings are invalid; text by default."""
    words = [part for word in argv for part in word.split("=", 1)]
    flags = [value for name, value in pairwise(words) if name == "--log-format"]
    requested = flags[-1] if flags else os.environ.get(variable_of("log_format"))
    return "json" if requested == "json" else "text"


def refuse_unknown_variables(settings: type[BaseModel], program: str) -> None:
    """Raise SettingsError for a variable that is named like a setting and is not one.

    Variables of other jobs are accepted: a night that labels and verifies has one environment. Variables that
    Kubernetes sets for a service are accepted too.
    """
    asked = f"the settings of {program}"
    removed.refuse_variables(os.environ, asked)
    known = {variable_of(name) for declared in (settings, *JOBS) for name in declared.model_fields}
    unknown = sorted(
        name
        for name in os.environ
        if name.startswith(VARIABLE_PREFIX) and name not in known and not SERVICE_VARIABLE.fullmatch(name)
    )
    if unknown:
        problem = f"the environment has {unknown[0]}, which is not a setting"
        raise SettingsError(asked, problem, f"see {program} --help-all")


def refuse_unpickling(program: str) -> None:
    """Raise SettingsError for a variable that lets Ray unpickle, and so run, code in a Parquet file."""
    for name in UNPICKLING_VARIABLES:
        if os.environ.get(name, "").lower() in {"1", "true"}:
            raise SettingsError(f"the environment of {program}", f"{name} is set", "unset it: no input is trusted")


def ray_address() -> str | None:
    """The cluster that the environment names for Ray to join, unchanged; None without one."""
    return os.environ.get(RAY_ADDRESS) or None


def ray_variables() -> list[str]:
    """The names of the variables that begin with `RAY_`, sorted."""
    return sorted(name for name in os.environ if name.startswith("RAY_"))


def job_server() -> str | None:
    """The address of the job server in the environment; None without one."""
    return os.environ.get("RAY_API_SERVER_ADDRESS") or ray_address()


def ray_uses_tls() -> bool:
    """Whether Ray's processes use TLS between them."""
    return os.environ.get("RAY_USE_TLS", "").lower() in {"1", "true"}
