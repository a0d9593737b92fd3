"""The settings of `albert-infer demo` and `jobs/demo.py`."""

from __future__ import annotations

from typing import Annotated, Final

from cyclopts import Parameter

from albert_infer.config.settings import LabelSettings
from albert_infer.config.shared import Input, Output, Replace
from albert_infer.config.values import Names

ITS_OWN: Final = Parameter(show=False)


class DemoSettings(LabelSettings):
    """Those of `albert-infer label`. What the demo gives itself is not in its help: nobody else gives it."""

    input: Annotated[Input, ITS_OWN]
    output: Annotated[Output, ITS_OWN]
    carry: Annotated[Names, ITS_OWN]
    replace: Annotated[Replace, ITS_OWN]
