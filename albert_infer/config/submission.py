"""The settings of `albert-infer submit` and `jobs/submit_nightly.py`."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

from albert_infer.config.groups import CLUSTER
from albert_infer.config.nightly import NightlySettings
from albert_infer.config.shared import SettingsPart


class Submission(SettingsPart):
    """The cluster that gets the nights, and how it gets the code."""

    address: Annotated[
        str | None,
        Parameter(
            group=CLUSTER,
            help="Job server of the cluster, as http://head:8265; default: RAY_API_SERVER_ADDRESS, then RAY_ADDRESS.",
        ),
    ] = None
    package: Annotated[
        Literal["upload", "image"] | None,
        Parameter(
            group=CLUSTER,
            help="Code that labels: `upload` sends this checkout, the default in a checkout; `image` uses the package "
            "installed on every node, which must have this version.",
        ),
    ] = None
    no_wait: Annotated[
        bool,
        Parameter(
            group=CLUSTER, help="Return after submission; without this flag the command follows the log to its end."
        ),
    ] = False


class SubmitSettings(NightlySettings, Submission):
    """The cluster, and every setting of the job that labels the nights."""
