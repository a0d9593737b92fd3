"""Labels nights in order, each as a separate run, and reports all of them in one table.

A failed night does not stop the later ones. `job.run` labels and publishes a night.
"""

from __future__ import annotations

import json
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date, timedelta
from enum import StrEnum
from functools import cache, partial
from typing import ClassVar, Final

from rich.table import Column

from albert_infer import storage
from albert_infer.common.display import terminal_width
from albert_infer.common.printable import PrintableText, how_many, one_line, text_of
from albert_infer.common.tables import table_lines
from albert_infer.config import LabellingSettings, LabelSettings, NightlySettings
from albert_infer.config.values import DATE_PLACEHOLDER
from albert_infer.errors import AlbertInferError, NoInputError, SupersededError
from albert_infer.job.access import output_access
from albert_infer.job.command import job_error
from albert_infer.job.report import Report
from albert_infer.job.run import label_pairs
from albert_infer.model.checkpoint import load_checkpoint
from albert_infer.pipeline.choice import on_ray
from albert_infer.pipeline.executor import Executor
from albert_infer.storage import Folder
from albert_infer.storage.input_names import left_out_text

# Below the output root; hidden from programs that read the root as one table.
SUMMARY_FOLDER: Final = "_runs"
SUMMARY: Final = "nightly.json"
SUMMARY_FORMAT: Final = 1
# The width of the whole table. A narrower terminal gets a table without the plans.
WIDTH: Final = 110
# Of the nights before one, the last seven that are published are compared with it.
EARLIER_NIGHTS: Final = 14


class NightEnd(StrEnum):
    """The result of a night."""

    PUBLISHED = "published"
    # Published in place of another plan.
    RELABELLED = "relabelled"
    ALREADY_PUBLISHED = "already_published"
    NO_INPUT = "no_input"
    # Another plan is published; nothing was changed.
    ANOTHER_PLAN = "another_plan"
    FAILED = "failed"
    NOT_STARTED = "not_started"


@dataclass(frozen=True)
class Night:
    """The result of one night. `exit_code` is None if the night was not started, the counts if nothing is published."""

    date: str
    end: NightEnd
    exit_code: int | None = None
    error: str | None = None
    plan_id: str | None = None
    rows: int | None = None
    labelled: int | None = None
    rejected: int | None = None
    # The number of objects that are no input, with the reasons and the first name for each reason.
    left_out: str | None = None
    seconds: float = 0.0

    def __str__(self) -> str:
        counts = "" if self.rows is None else f", {self.labelled:,} of {how_many(self.rows, 'row')} labelled"
        left_out = f"; left out: {self.left_out}" if self.left_out else ""
        code = f" (exit code {self.exit_code})" if self.exit_code else ""
        error = f"{code}: {self.error}" if self.error else ""
        return f"night {self.date}: {self.end.replace('_', ' ')}{counts} in {self.seconds:.1f} s{left_out}{error}"


@dataclass(frozen=True)
class Nights:
    """Every night of the settings, in order, and the failure that decides the exit code."""

    nights: tuple[Night, ...]
    worst: AlbertInferError | None = None

    def after(self, index: int, night: Night, failure: AlbertInferError | None) -> Nights:
        """A copy with the result of the night at `index`."""
        return Nights((*self.nights[:index], night, *self.nights[index + 1 :]), self.worst).with_failure(failure)

    def with_failure(self, failure: AlbertInferError | None) -> Nights:
        """A copy with another failure, unless `failure` is None."""
        failures = [error for error in (self.worst, failure) if error is not None]
        return replace(self, worst=max(failures, key=lambda error: error.exit_code, default=None))

    def to_json(self) -> bytes:
        """Encode `nightly.json`."""
        code = self.worst.exit_code if self.worst else 0
        nights = [asdict(night) for night in self.nights]
        return json.dumps({"format": SUMMARY_FORMAT, "exit_code": code, "nights": nights}, indent=1).encode()

    def facts(self) -> Mapping[str, object]:
        """The number of nights for each result, for the summary line."""
        return {"nights": Counter(str(night.end) for night in self.nights)}

    def to_text(self, *, width: int | None = None) -> PrintableText:
        """A table for a person; in a terminal of `width` columns that are too few, it has no plans."""
        is_narrow = width is not None and width < WIDTH
        columns = [Column("night", no_wrap=True), Column("what happened", no_wrap=not is_narrow)]
        columns += [
            Column(name, justify="right", no_wrap=name != "exit code" or not is_narrow)
            for name in ("exit code", "rows", "labelled", "rejected", "seconds")
        ]
        columns += [] if is_narrow else [Column("plan", no_wrap=True)]
        rows = [
            (
                *(night.date, night.end.replace("_", " ")),
                *map(_number, (night.exit_code, night.rows, night.labelled, night.rejected)),
                *(f"{night.seconds:.1f}", night.plan_id or ""),
            )
            for night in self.nights
        ]
        return text_of(table_lines(columns, [row[: len(columns)] for row in rows], width=min(width or WIDTH, WIDTH)))

    def refuse_failures(self) -> None:
        """Raise the failure with the largest exit code; if there are several, the first of them."""
        if self.worst is not None:
            failed = [night.date for night in self.nights if night.exit_code]
            asked = (
                f"{len(failed)} of {how_many(len(self.nights), 'night')} ({', '.join(failed[:7])}), {self.worst.asked}"
            )
            raise type(self.worst)(asked, self.worst.problem, self.worst.remedy) from self.worst


def label_nights(settings: NightlySettings, executor: Executor | None = None) -> Nights:
    """Label every night in one session, with one load of the checkpoint. The default `executor` uses Ray.

    Each result is in `nightly.json` as soon as the night has ended. Raises OutputError without the right to write this
    file, and InfrastructureError if Ray cannot be started or reached.
    """
    summaries = storage.open_folder(storage.subfolder(settings.output_root, SUMMARY_FOLDER), output_access(settings))
    storage.check_writable(summaries)
    executor = executor or on_ray()
    with executor.session(debug=settings.debug):
        return label_each(settings, summaries, partial(label_pairs, load=cache(load_checkpoint), executor=executor))


def label_each(settings: NightlySettings, summaries: Folder, label: Callable[[LabelSettings], Report]) -> Nights:
    """Give each night to `label`, in order; report each night in a line on stdout and in `nightly.json`."""
    dates = settings.nights
    nights = Nights(tuple(Night(night.isoformat(), NightEnd.NOT_STARTED) for night in dates))
    for index, date_of_night in enumerate(dates):
        night, failure = _labelled(settings, date_of_night, label)
        nights = nights.after(index, night, failure)
        sys.stdout.write(f"{_wrapped(one_line(night))}\n")
        sys.stdout.flush()
        nights = _written(nights, summaries)
        if failure and settings.stop_on_failure:
            break
    return nights


def _wrapped(line: str) -> str:
    """Wrap the line for a terminal; return it unchanged if stdout is no terminal."""
    width = terminal_width()
    if width is None or len(line) <= width:
        return line
    return textwrap.fill(line, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def _written(nights: Nights, summaries: Folder) -> Nights:
    """Write `nightly.json` and return the nights. A failed write is added as a failure, and stops no later night."""
    try:
        # If another driver writes the file too, one of them wins: each file lists the nights of one driver.
        summaries.replace(SUMMARY, nights.to_json(), summaries.stat(SUMMARY))
    except AlbertInferError as error:
        return nights.with_failure(error)
    return nights


class NightSettings(LabelSettings):
    """The settings of the run that labels one night. Its labels are compared with those of the nights before it."""

    requires_reference: ClassVar[bool] = False
    to_replace: ClassVar[str] = "give --on-change relabel to publish over it"


def night_settings(settings: NightlySettings, night: date) -> LabelSettings:
    """The settings of the run that labels one night."""
    earlier = [night - timedelta(days=days) for days in range(1, EARLIER_NIGHTS + 1)]
    return NightSettings(
        input=storage.subfolder(settings.input_root, _folder_of(settings, night)),
        output=storage.subfolder(settings.output_root, _folder_of(settings, night)),
        replace=settings.on_change == "relabel",
        reference=tuple(storage.subfolder(settings.output_root, _folder_of(settings, each)) for each in earlier),
        **settings.model_dump(include=set(LabellingSettings.model_fields)),
    )


def _folder_of(settings: NightlySettings, night: date) -> str:
    return settings.partition.replace(DATE_PLACEHOLDER, night.isoformat())


def _labelled(
    settings: NightlySettings, night: date, label: Callable[[LabelSettings], Report]
) -> tuple[Night, AlbertInferError | None]:
    """Label the night; return its result and its failure."""
    start = time.monotonic()
    failure: AlbertInferError | None = None
    try:
        result = _as_reported(night, label(night_settings(settings, night)))
    except NoInputError as error:
        failure = error if settings.missing == "error" else None
        result = _as_failed(night, NightEnd.NO_INPUT, error, failure.exit_code if failure else 0)
    except SupersededError as error:
        failure, result = error, _as_failed(night, NightEnd.ANOTHER_PLAN, error, error.exit_code)
    except AlbertInferError as error:
        failure, result = error, _as_failed(night, NightEnd.FAILED, error, error.exit_code)
    except Exception as error:  # an unexpected error of one night must not stop the others
        failure = job_error(error, f"night {night}")
        result = _as_failed(night, NightEnd.FAILED, failure, failure.exit_code)
    return replace(result, seconds=round(time.monotonic() - start, 3)), failure


def _as_reported(night: date, report: Report) -> Night:
    """The result of a published night. Only a start that publishes has publishing seconds."""
    end = NightEnd.PUBLISHED if report.seconds.publishing else NightEnd.ALREADY_PUBLISHED
    return Night(
        date=night.isoformat(),
        end=NightEnd.RELABELLED if report.seconds.publishing and report.replaced_plan else end,
        exit_code=0,
        plan_id=report.plan_id,
        rows=report.rows,
        labelled=report.labelled,
        rejected=sum(report.rejected.values()),
        left_out=left_out_text(report.ignored) or None,
    )


def _as_failed(night: date, end: NightEnd, error: AlbertInferError, exit_code: int) -> Night:
    return Night(date=night.isoformat(), end=end, exit_code=exit_code, error=one_line(error))


def _number(count: int | None) -> str:
    return "" if count is None else f"{count:,}"
