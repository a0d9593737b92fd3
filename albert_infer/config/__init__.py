"""Declares every setting of the jobs once: its name, its type, its default and its help.

The first source with a value wins: the flag, the variable `ALBERT_INFER_<NAME>`, the TOML file of `--config`, the
default. The default of the S3 endpoint is AWS_ENDPOINT_URL. `shared` has the settings of several jobs; the module of
each job adds the rest. A settings object is always valid. Nothing else in the package reads the environment.
"""

from __future__ import annotations

from albert_infer.config.cleaning import CleanSettings
from albert_infer.config.conversion import ConvertSettings
from albert_infer.config.demo import DemoSettings
from albert_infer.config.environment import (
    RAY_ADDRESS,
    UNPICKLING_VARIABLES,
    job_server,
    ray_address,
    ray_uses_tls,
    ray_variables,
    requested_log_format,
)
from albert_infer.config.evaluation import EvaluateSettings
from albert_infer.config.expansion import ManyQuestions, expansion_of
from albert_infer.config.finetuning import FinetuneSettings
from albert_infer.config.nightly import NightlySettings
from albert_infer.config.parsing import Settings, flags_of, parse_settings, variables_of
from albert_infer.config.planning import PlanSettings
from albert_infer.config.reporting import ReportSettings
from albert_infer.config.review import ReviewSettings
from albert_infer.config.settings import LabellingSettings, LabelSettings
from albert_infer.config.shared import PrecisionSetting
from albert_infer.config.submission import SubmitSettings
from albert_infer.config.verification import VerifySettings

__all__ = [
    "RAY_ADDRESS", "UNPICKLING_VARIABLES", "CleanSettings", "ConvertSettings", "DemoSettings", "EvaluateSettings",
    "FinetuneSettings", "LabelSettings", "LabellingSettings", "ManyQuestions", "NightlySettings", "PlanSettings",
    "PrecisionSetting", "ReportSettings", "ReviewSettings", "Settings", "SubmitSettings", "VerifySettings",
    "expansion_of", "flags_of", "job_server", "parse_settings", "ray_address", "ray_uses_tls", "ray_variables",
    "requested_log_format", "variables_of",
]  # fmt: skip
