"""The settings of `albert-infer nightly` and `jobs/label_nightly.py`."""

from __future__ import annotations

import datetime
from typing import Annotated, Literal, Self

from cyclopts import Parameter
from pydantic import AfterValidator, BaseModel, BeforeValidator, field_validator, model_validator

from albert_infer.config.groups import DATA, NIGHTS
from albert_infer.config.nights import checked_nights, night_of, nights_between, today, yesterday, zone
from albert_infer.config.settings import LabellingSettings
from albert_infer.config.shared import OutputRoot
from albert_infer.config.values import DATE_PLACE, InputRoot


def _known_zone(value: str) -> str:
    zone(value)
    return value


Night = Annotated[datetime.date, BeforeValidator(night_of)]


class NightPlaces(BaseModel):
    """Which nights there are, and where each has its input and its output."""

    input_root: Annotated[
        InputRoot, Parameter(group=DATA, help="The folder whose partitions are inputs: local path, file:// or s3://.")
    ]
    output_root: Annotated[
        OutputRoot,
        Parameter(help="The folder whose partitions are outputs; `_runs/nightly.json` is put there."),
    ]
    partition: Annotated[
        str, Parameter(group=DATA, help=f"A night's folder below both roots; {DATE_PLACE} becomes YYYY-MM-DD.")
    ] = f"dt={DATE_PLACE}"
    date: Annotated[
        Night | None, Parameter(group=NIGHTS, help="The one night to label, YYYY-MM-DD; yesterday if not given.")
    ] = None
    since: Annotated[Night | None, Parameter(group=NIGHTS, help="The first of several nights, instead of --date.")] = (
        None
    )
    until: Annotated[
        Night | None, Parameter(group=NIGHTS, help="The last of them, itself included; yesterday if not given.")
    ] = None
    timezone: Annotated[
        str,
        AfterValidator(_known_zone),
        Parameter(group=NIGHTS, help="Where a day begins, as Europe/Berlin: it says which night yesterday was."),
    ] = "UTC"
    missing: Annotated[
        Literal["error", "skip"],
        Parameter(group=NIGHTS, help="A night without input ends with exit code 2, or is left out with 0."),
    ] = "error"
    # Labels that somebody has read are not replaced because a file came late, unless the operator says so.
    on_change: Annotated[
        Literal["report", "relabel"],
        Parameter(
            group=NIGHTS,
            help="Where another plan is published (input, model or settings changed): exit code 6, or a run over it.",
        ),
    ] = "report"
    stop_on_failure: Annotated[
        bool, Parameter(group=NIGHTS, help="Begin no night after one that failed; else each is tried.")
    ] = False

    @field_validator("partition")
    @classmethod
    def _partition_is_a_folder_of_each_night(cls, value: str) -> str:
        segments = value.removesuffix("/").split("/")
        rest = value.replace(DATE_PLACE, "")
        if DATE_PLACE not in value or not {"", ".", ".."}.isdisjoint(segments) or "{" in rest or "}" in rest:
            raise ValueError(f"expected a path below the roots with {DATE_PLACE} in it, as dt={DATE_PLACE}")
        # A date that is over: what stands around it is judged.
        checked_nights(value.replace(DATE_PLACE, "2001-01-01"))
        return "/".join(segments)

    @model_validator(mode="after")
    def _nights_are_one_or_a_range_and_begun(self) -> Self:
        if self.date and (self.since or self.until):
            raise ValueError("give either --date, or --since and --until")
        if self.until and not self.since:
            raise ValueError("--until needs --since")
        last = self.date or self.until or yesterday(self.timezone)
        if self.since and self.since > last:
            raise ValueError(f"--since {self.since} is later than the last night, {last}")
        if last > today(self.timezone):
            raise ValueError(f"{last} lies in the future ({self.timezone})")
        return self

    @property
    def nights(self) -> tuple[datetime.date, ...]:
        """The nights in order, as they are at this moment: without dates it is yesterday's."""
        last = self.date or self.until or yesterday(self.timezone)
        return nights_between(self.since or last, last)


class NightlySettings(LabellingSettings, NightPlaces):
    """Which nights are labelled, and how: every setting of a run but its input, its output and `replace`."""
