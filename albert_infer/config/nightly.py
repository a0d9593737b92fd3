"""The settings of `albert-infer nightly` and `jobs/label_nightly.py`."""

from __future__ import annotations

import datetime
from typing import Annotated, Literal, Self

from cyclopts import Parameter
from pydantic import AfterValidator, BeforeValidator, field_validator, model_validator

from albert_infer.config.groups import DATA, NIGHTS
from albert_infer.config.nights import checked_nights, night_of, nights_between, today, yesterday, zone
from albert_infer.config.settings import LabellingSettings
from albert_infer.config.shared import OutputRoot, SettingsPart
from albert_infer.config.values import DATE_PLACEHOLDER, InputRoot


def _known_zone(value: str) -> str:
    zone(value)
    return value


Night = Annotated[datetime.date, BeforeValidator(night_of)]


class NightLocations(SettingsPart):
    """Which nights to label, and where their inputs and outputs are."""

    input_root: Annotated[
        InputRoot, Parameter(group=DATA, help="The folder whose partitions are inputs: local path, file:// or s3://.")
    ]
    output_root: Annotated[
        OutputRoot,
        Parameter(help="The folder whose partitions are outputs; `_runs/nightly.json` is written there."),
    ]
    partition: Annotated[
        str, Parameter(group=DATA, help=f"A night's folder below both roots; {DATE_PLACEHOLDER} becomes YYYY-MM-DD.")
    ] = f"dt={DATE_PLACEHOLDER}"
    date: Annotated[Night | None, Parameter(group=NIGHTS, help="Night to label, YYYY-MM-DD; default: yesterday.")] = (
        None
    )
    since: Annotated[Night | None, Parameter(group=NIGHTS, help="First of several nights, instead of --date.")] = None
    until: Annotated[
        Night | None, Parameter(group=NIGHTS, help="Last of several nights, inclusive; default: yesterday.")
    ] = None
    timezone: Annotated[
        str,
        AfterValidator(_known_zone),
        Parameter(group=NIGHTS, help="Time zone that decides which night yesterday was, as Europe/Berlin."),
    ] = "UTC"
    missing: Annotated[
        Literal["error", "skip"],
        Parameter(group=NIGHTS, help="A night without input: `error` is exit code 2, `skip` leaves the night out."),
    ] = "error"
    # People may have used the labels, so a late file replaces them only if the operator asks for it.
    on_change: Annotated[
        Literal["report", "relabel"],
        Parameter(
            group=NIGHTS,
            help="A published night whose input, model or settings changed: `report` ends with exit code 6, "
            "`relabel` replaces its labels.",
        ),
    ] = "report"
    stop_on_failure: Annotated[
        bool,
        Parameter(group=NIGHTS, help="Stop after the first night that fails; without this flag every night is tried."),
    ] = False

    @field_validator("partition")
    @classmethod
    def _partition_is_a_folder_of_each_night(cls, value: str) -> str:
        segments = value.removesuffix("/").split("/")
        rest = value.replace(DATE_PLACEHOLDER, "")
        if DATE_PLACEHOLDER not in value or not {"", ".", ".."}.isdisjoint(segments) or "{" in rest or "}" in rest:
            raise ValueError(f"expected a path below the roots with {DATE_PLACEHOLDER} in it, as dt={DATE_PLACEHOLDER}")
        # With a past date, only the text around the placeholder is checked.
        checked_nights(value.replace(DATE_PLACEHOLDER, "2001-01-01"))
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
            raise ValueError(f"{last} is in the future ({self.timezone})")
        return self

    @property
    def nights(self) -> tuple[datetime.date, ...]:
        """The nights in order; without dates, yesterday at the time of the call."""
        last = self.date or self.until or yesterday(self.timezone)
        return nights_between(self.since or last, last)


class NightlySettings(LabellingSettings, NightLocations):
    """The nights, and every setting of a run except `input`, `output` and `replace`."""
