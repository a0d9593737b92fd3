"""The settings of `jobs/demo.py`."""

from __future__ import annotations

from typing import Annotated, Final

from cyclopts import Parameter

from albert_infer.config.settings import LabelSettings
from albert_infer.config.values import Location, Names, OutputFolder

ITS_OWN: Final = Parameter(show=False)


@Parameter(name="*", negative="", show_env_var=False)
class DemoSettings(LabelSettings):
    """Those of `jobs/label_pairs.py`. What the demo gives itself is not in its help: nobody else gives it."""

    input: Annotated[Location, ITS_OWN]
    output: Annotated[OutputFolder, ITS_OWN]
    carry: Annotated[Names, ITS_OWN]
    replace: Annotated[bool, ITS_OWN]
