"""What earlier runs took at the same output, and at the outputs of the nights before: from their `report.json`.

A run on the same checkpoint, device and precision says more than any table.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, timedelta
from statistics import median
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from albert_infer import storage
from albert_infer.errors import AlbertInferError
from albert_infer.output import layout
from albert_infer.schema import DeviceKind, ExecutorKind, Precision
from albert_infer.storage import Folder, S3Access, StoredObject

# Reports of one output, and nights before it: each is a request or two.
MAX_REPORTS: Final = 3
NIGHTS_BEFORE: Final = 7
# A longer one is no report.
MAX_REPORT_BYTES: Final = 1 << 24
DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}")

Amount = Annotated[float, Field(ge=0)]

# The speed of a run that labels for a shorter time is that of its first batches.
LEAST_SECONDS: Final = 3.0


class _Read(BaseModel):
    """Only what an estimate needs; other keys may be there."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)


class _Seconds(_Read):
    startup: Amount
    labelling: Amount
    publishing: Amount


class _Units(_Read):
    labelled: int = 0


class _Workers(_Read):
    min_workers: int
    num_gpus: float
    threads: int | None


class _Model(_Read):
    digest: str


class _Estimate(_Read):
    card: str | None = None
    workers_used: int | None = None


class _Report(_Read):
    plan_id: str
    device: DeviceKind
    precision: Precision
    tokens_per_second: Amount
    units: _Units
    seconds: _Seconds
    workers: _Workers
    model: _Model
    estimate: _Estimate | None = None
    # Reports of earlier versions have none: all their runs were on Ray.
    executor: ExecutorKind = ExecutorKind.RAY


@dataclass(frozen=True)
class EarlierRun:
    """One start that labelled something: on what, how fast, and the seconds before and after.

    `tokens_per_second` are those of one card or core, with the tokens of pairs that are identical to an earlier one of
    their unit. `card` is None where the run did not know it.
    """

    plan_id: str
    digest: str
    device: DeviceKind
    card: str | None
    precision: Precision
    tokens_per_second: float
    workers: int
    # Cards or cores of one worker.
    devices_each: float
    startup_seconds: float
    publishing_seconds_a_unit: float
    executor: ExecutorKind = ExecutorKind.RAY


def earlier_runs(output: Folder, uri: str, access: S3Access) -> list[EarlierRun]:
    """The runs whose reports are at the output, newest first; where there are none, those of a night before.

    `uri` is the output as it was given: a date in its last part leads to the nights before. Nothing is raised: a
    report that cannot be read is none.
    """
    for folder in (output, *nights_before(uri, access)):
        with suppress(AlbertInferError):
            runs = list(_runs_at(folder, folder.stored(layout.RUNS)))
            if runs:
                return runs
    return []


def nights_before(uri: str, access: S3Access) -> Iterator[Folder]:
    """The outputs of the seven nights before, where the last part of the output's URI has a date."""
    before, slash, last = uri.rstrip("/").rpartition("/")
    written = DATE.search(last)
    with suppress(ValueError, AlbertInferError):
        night = date.fromisoformat(written[0] if written else "")
        for days in range(1, NIGHTS_BEFORE + 1):
            yield storage.open_folder(before + slash + DATE.sub(str(night - timedelta(days)), last), access)


def matching(
    runs: Iterable[EarlierRun], digest: str, device: DeviceKind, card: str | None, precision: Precision
) -> list[EarlierRun]:
    """The runs of the same checkpoint on the same device in the same precision; any card where `card` is None."""
    wanted = (digest, device, precision)
    alike = [run for run in runs if (run.digest, run.device, run.precision) == wanted]
    return [run for run in alike if card is None or run.card in (None, card)]


def typical(runs: Sequence[EarlierRun]) -> EarlierRun:
    """One run in place of several: each figure is the median of theirs, and `startup` of those with one executor."""
    newest = runs[0]
    startups = [run.startup_seconds for run in runs if run.executor == newest.executor]
    return EarlierRun(
        plan_id=newest.plan_id,
        digest=newest.digest,
        device=newest.device,
        card=newest.card,
        precision=newest.precision,
        tokens_per_second=median(run.tokens_per_second for run in runs),
        workers=newest.workers,
        devices_each=newest.devices_each,
        startup_seconds=median(startups),
        publishing_seconds_a_unit=median(run.publishing_seconds_a_unit for run in runs),
        executor=newest.executor,
    )


def _runs_at(folder: Folder, stored: Sequence[StoredObject]) -> Iterator[EarlierRun]:
    reports = [entry for entry in stored if layout.is_report(entry.name) and entry.size <= MAX_REPORT_BYTES]
    reports.sort(key=lambda entry: entry.modified, reverse=True)
    for entry in reports[:MAX_REPORTS]:
        with suppress(AlbertInferError, ValidationError):
            report = _Report.model_validate_json(folder.read(entry.name))
            is_long = report.seconds.labelling >= LEAST_SECONDS
            if report.units.labelled and report.tokens_per_second and is_long:
                yield _run(report)


def _run(report: _Report) -> EarlierRun:
    estimate, workers = report.estimate or _Estimate(), report.workers
    count = max(estimate.workers_used or workers.min_workers, 1)
    devices_each = workers.num_gpus or float(workers.threads or 1)
    return EarlierRun(
        plan_id=report.plan_id,
        digest=report.model.digest,
        device=report.device,
        card=estimate.card,
        precision=report.precision,
        tokens_per_second=report.tokens_per_second / (count * devices_each),
        workers=count,
        devices_each=devices_each,
        startup_seconds=report.seconds.startup,
        publishing_seconds_a_unit=report.seconds.publishing / report.units.labelled,
        executor=report.executor,
    )
