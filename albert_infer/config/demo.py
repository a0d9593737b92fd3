"""The settings of `albert-infer demo` and `jobs/demo.py`."""

from __future__ import annotations

from typing import Annotated, Final

from cyclopts import Parameter

from albert_infer.config.settings import LabelSettings
from albert_infer.config.shared import Input, Output, Replace
from albert_infer.config.values import Names

HIDDEN: Final = Parameter(show=False)


class DemoSettings(LabelSettings):
    """The settings of `albert-infer label`. The help hides those that the demo sets itself."""

    input: Annotated[Input, HIDDEN]
    output: Annotated[Output, HIDDEN]
    carry: Annotated[Names, HIDDEN]
    replace: Annotated[Replace, HIDDEN]
