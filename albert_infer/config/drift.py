"""The settings of the comparison with earlier runs, which comes before publishing."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from cyclopts import Parameter

from albert_infer.config.groups import LIMITS, Mark
from albert_infer.config.shared import SettingsPart
from albert_infer.config.values import Names, Share


class References(SettingsPart):
    """The runs that the labels of one run are compared with. Where one is required, a run without any is refused."""

    requires_reference: ClassVar[bool] = True

    reference: Annotated[
        Names,
        Parameter(group=LIMITS, help="Outputs of earlier runs, as `a,b`, to compare labels with before publishing."),
    ] = ()


class DriftGate(SettingsPart):
    """What labels are compared with before they are published, and what follows from a difference."""

    drift: Annotated[
        Literal["warn", "fail", "off"],
        Parameter(
            group=LIMITS,
            help="Where labels differ from those of --reference: `warn`, or `fail` and publish nothing. `off` compares "
            "none.",
        ),
    ] = "warn"
    max_drift: Annotated[
        Share,
        Parameter(
            group=LIMITS,
            help="Jensen-Shannon distance to accept between a run and its references, whatever its size.",
        ),
        Mark.RARE,
    ] = 0.03
    drift_columns: Annotated[
        Names,
        Parameter(group=LIMITS, help="Carried columns, as `genre,source`: compares the labels of each value too."),
        Mark.RARE,
    ] = ()
