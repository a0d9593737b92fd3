"""The settings of `albert-infer submit` and `jobs/submit_nightly.py`."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter
from pydantic import BaseModel

from albert_infer.config.groups import CLUSTER
from albert_infer.config.nightly import NightlySettings


class ClusterPlace(BaseModel):
    """Where the nights are submitted to."""

    address: Annotated[
        str | None,
        Parameter(
            group=CLUSTER,
            help="The cluster's job server, as http://head:8265 (else RAY_API_SERVER_ADDRESS, else RAY_ADDRESS).",
        ),
    ] = None
    package: Annotated[
        Literal["upload", "image"] | None,
        Parameter(
            group=CLUSTER,
            help="Whose code labels: `upload` the checkout that this is, which is done if it is one, or take what the "
            "`image` of every node has installed, which must be of this version.",
        ),
    ] = None
    no_wait: Annotated[
        bool, Parameter(group=CLUSTER, help="Return once it is submitted; else follow its log to its end.")
    ] = False


class SubmitSettings(NightlySettings, ClusterPlace):
    """Where nights are submitted to, and every setting of the job that labels them."""
