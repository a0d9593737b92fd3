"""Nights, one after the other: each is labelled as a run of its own, and all of them are told of in one table.

A night that fails stops no other. What a run is, and when it is done, is `run`'s to know.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date
from enum import StrEnum
from functools import cache, partial
from typing import Final

from rich.table import Column

from albert_infer import storage
from albert_infer.common.printable import PrintableText, how_many, one_line, text_of
from albert_infer.common.tables import table_lines
from albert_infer.config import LabellingSettings, LabelSettings, NightlySettings
from albert_infer.config.values import DATE_PLACEHOLDER
from albert_infer.errors import AlbertInferError, NoInputError, SupersededError
from albert_infer.job.command import job_error
from albert_infer.job.places import output_access
from albert_infer.job.report import Report
from albert_infer.job.run import label_pairs
from albert_infer.model.checkpoint import load_checkpoint
from albert_infer.pipeline.executor import Executor, on_ray
from albert_infer.storage import Folder
from albert_infer.storage.input_names import told_left_out

# Below the output root, and hidden from whoever reads the root as one table.
SUMMARY_FOLDER: Final = "_runs"
SUMMARY: Final = "nightly.json"
SUMMARY_FORMAT: Final = 1
WIDTH: Final = 110


class NightEnd(StrEnum):
    """What happened to a night."""

    PUBLISHED = "published"
    # Over another plan, which was published before.
    RELABELLED = "relabelled"
    ALREADY_PUBLISHED = "already_published"
    NO_INPUT = "no_input"
    # Published, by another plan: nothing was touched.
    ANOTHER_PLAN = "another_plan"
    FAILED = "failed"
    NOT_STARTED = "not_started"


@dataclass(frozen=True)
class Night:
    """One night as it ended. `exit_code` is None where it was not started, the counts where nothing is published."""

    date: str
    end: NightEnd
    exit_code: int | None = None
    error: str | None = None
    plan_id: str | None = None
    rows: int | None = None
    labelled: int | None = None
    rejected: int | None = None
    # How many objects of the input are no input, why, and the first of each kind.
    left_out: str | None = None
    seconds: float = 0.0

    def __str__(self) -> str:
        counts = "" if self.rows is None else f", {self.labelled:,} of {how_many(self.rows, 'pair')} labelled"
        left_out = f"; left out: {self.left_out}" if self.left_out else ""
        error = f" (exit code {self.exit_code}): {self.error}" if self.error else ""
        return f"night {self.date}: {self.end.replace('_', ' ')}{counts} in {self.seconds:.1f} s{left_out}{error}"


@dataclass(frozen=True)
class Nights:
    """Every night that was asked for, in order, and the failure that the exit code tells of."""

    nights: tuple[Night, ...]
    worst: AlbertInferError | None = None

    def after(self, place: int, ended: Night, failure: AlbertInferError | None) -> Nights:
        """The same with another night ended."""
        return Nights((*self.nights[:place], ended, *self.nights[place + 1 :]), self.worst).with_failure(failure)

    def with_failure(self, failure: AlbertInferError | None) -> Nights:
        """The same with another failure, if it is one."""
        failures = [error for error in (self.worst, failure) if error is not None]
        return replace(self, worst=max(failures, key=lambda error: error.exit_code, default=None))

    def to_json(self) -> bytes:
        """The bytes of `nightly.json`."""
        code = self.worst.exit_code if self.worst else 0
        nights = [asdict(night) for night in self.nights]
        return json.dumps({"format": SUMMARY_FORMAT, "exit_code": code, "nights": nights}, indent=1).encode()

    def facts(self) -> Mapping[str, object]:
        """How many nights ended in which way, for whoever reads no table."""
        return {"nights": Counter(str(night.end) for night in self.nights)}

    def to_text(self) -> PrintableText:
        """A table for a person."""
        names = [Column(name, no_wrap=True) for name in ("night", "what happened")]
        numbers = ("exit code", "rows", "labelled", "rejected", "seconds")
        names += [Column(name, justify="right", no_wrap=True) for name in numbers]
        rows = [
            (
                *(night.date, night.end.replace("_", " ")),
                *map(_number, (night.exit_code, night.rows, night.labelled, night.rejected)),
                *(f"{night.seconds:.1f}", night.plan_id or ""),
            )
            for night in self.nights
        ]
        return text_of(table_lines([*names, Column("plan", no_wrap=True)], rows, width=WIDTH))

    def refuse_failures(self) -> None:
        """Raise the failure of the largest exit code; of several the first."""
        if self.worst is not None:
            failed = [night.date for night in self.nights if night.exit_code]
            asked = (
                f"{len(failed)} of {how_many(len(self.nights), 'night')} ({', '.join(failed[:7])}), {self.worst.asked}"
            )
            raise type(self.worst)(asked, self.worst.problem, self.worst.remedy) from self.worst


def label_nights(settings: NightlySettings, executor: Executor | None = None) -> Nights:
    """Label every night in one session, with one load of the checkpoint; on Ray where no `executor` is given.

    How each ended stands in `nightly.json` as soon as it has ended. Raises OutputError without the right to write it,
    and InfrastructureError if there is no Ray.
    """
    summaries = storage.open_folder(storage.subfolder(settings.output_root, SUMMARY_FOLDER), output_access(settings))
    storage.check_writable(summaries)
    executor = executor or on_ray()
    with executor.session(debug=settings.debug):
        return label_each(settings, summaries, partial(label_pairs, load=cache(load_checkpoint), executor=executor))


def label_each(settings: NightlySettings, summaries: Folder, label: Callable[[LabelSettings], Report]) -> Nights:
    """Give each night to `label`, in order, and tell of each in a line and in `nightly.json`."""
    dates = settings.nights
    told = Nights(tuple(Night(night.isoformat(), NightEnd.NOT_STARTED) for night in dates))
    for place, night in enumerate(dates):
        ended, failure = _labelled(settings, night, label)
        told = told.after(place, ended, failure)
        sys.stdout.write(f"{one_line(ended)}\n")
        sys.stdout.flush()
        told = _written(told, summaries)
        if failure and settings.stop_on_failure:
            break
    return told


def _written(told: Nights, summaries: Folder) -> Nights:
    """The nights, with `nightly.json` written; that it could not be is a failure, which stops no later night."""
    try:
        # Another driver's may win: each tells of what it did itself.
        summaries.replace(SUMMARY, told.to_json(), summaries.stat(SUMMARY))
    except AlbertInferError as error:
        return told.with_failure(error)
    return told


def night_settings(settings: NightlySettings, night: date) -> LabelSettings:
    """The settings of the run that labels one night."""
    folder = settings.partition.replace(DATE_PLACEHOLDER, night.isoformat())
    return LabelSettings(
        input=storage.subfolder(settings.input_root, folder),
        output=storage.subfolder(settings.output_root, folder),
        replace=settings.on_change == "relabel",
        **settings.model_dump(include=set(LabellingSettings.model_fields)),
    )


def _labelled(
    settings: NightlySettings, night: date, label: Callable[[LabelSettings], Report]
) -> tuple[Night, AlbertInferError | None]:
    """The night as it ended, and the failure that it ended with."""
    begun = time.monotonic()
    failure: AlbertInferError | None = None
    try:
        ended = _as_reported(night, label(night_settings(settings, night)))
    except NoInputError as error:
        failure = error if settings.missing == "error" else None
        ended = _as_failed(night, NightEnd.NO_INPUT, error, failure.exit_code if failure else 0)
    except SupersededError as error:
        failure, ended = error, _as_failed(night, NightEnd.ANOTHER_PLAN, error, error.exit_code)
    except AlbertInferError as error:
        failure, ended = error, _as_failed(night, NightEnd.FAILED, error, error.exit_code)
    except Exception as error:  # as in `command`: one night's surprise must not end the others
        failure = job_error(error, f"night {night}")
        ended = _as_failed(night, NightEnd.FAILED, failure, failure.exit_code)
    return replace(ended, seconds=round(time.monotonic() - begun, 3)), failure


def _as_reported(night: date, report: Report) -> Night:
    """A night that is published. Only who publishes spends time on it."""
    end = NightEnd.PUBLISHED if report.seconds.publishing else NightEnd.ALREADY_PUBLISHED
    return Night(
        date=night.isoformat(),
        end=NightEnd.RELABELLED if report.seconds.publishing and report.replaced_plan else end,
        exit_code=0,
        plan_id=report.plan_id,
        rows=report.rows,
        labelled=report.labelled,
        rejected=sum(report.rejected.values()),
        left_out=told_left_out(report.ignored) or None,
    )


def _as_failed(night: date, end: NightEnd, error: AlbertInferError, exit_code: int) -> Night:
    return Night(date=night.isoformat(), end=end, exit_code=exit_code, error=one_line(error))


def _number(count: int | None) -> str:
    return "" if count is None else f"{count:,}"
