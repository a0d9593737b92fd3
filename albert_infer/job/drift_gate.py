"""The gate before publishing: labels that differ from those of earlier runs are reported, or refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from albert_infer import storage
from albert_infer.common import logs
from albert_infer.common.printable import printable
from albert_infer.config import LabelSettings
from albert_infer.errors import AlbertInferError, InputError, LimitError
from albert_infer.job.drift import Drift, RunCounts, compared
from albert_infer.job.report import Report
from albert_infer.job.report_page import read_report
from albert_infer.output.distribution import distribution_of, label_counts_by
from albert_infer.output.manifest import PublishedRun, Seal, published_at
from albert_infer.preflight.sample import SampleCounts
from albert_infer.storage import Folder, S3Access

# More say little more about ordinary variation.
MAX_RUNS: Final = 7


def drift_of(
    seal: Seal, output: Folder, report: Report, references: Mapping[str, RunCounts], settings: LabelSettings
) -> Drift | None:
    """The sealed run compared with the references; None without any. Warns of drift.

    Raises LimitError for drift where the settings say `fail`.
    """
    if not references or report.distribution is None:
        return None
    columns = label_counts_by(seal, output, settings.drift_columns) if settings.drift_columns else {}
    run = RunCounts(seal.labels, seal.rejected, report.distribution, _sample(report), columns)
    drift = compared(run, references, max_distance=settings.max_drift)
    if drift.drifted and settings.drift == "fail":
        remedy = "look at the labels; to publish them all the same, run it again with --drift warn"
        raise LimitError("labels like those of earlier runs", f"the run {drift.to_text()}", remedy)
    if drift.drifted:
        logs.warn("drift", f"the run {drift.to_text()}")
    return drift


def reference_runs(settings: LabelSettings, access: S3Access) -> dict[str, RunCounts]:
    """The first `MAX_RUNS` references that are published, by URI. One that cannot be read is left out with a warning.

    Raises InputError where the settings require a reference and none is published.
    """
    runs: dict[str, RunCounts] = {}
    uris: Sequence[str] = settings.reference if settings.drift != "off" else ()
    for uri in uris:
        if len(runs) == MAX_RUNS:
            break
        folder = storage.open_folder(uri, access)
        try:
            published = published_at(folder)
            if published is not None:
                runs[printable(folder.uri)] = _published_counts(published, folder, settings.drift_columns)
        except AlbertInferError as error:
            logs.warn("reference_unreadable", f"--reference {folder.uri} is left out: {error}")
    if uris and settings.requires_reference and not runs:
        asked = f"--reference {', '.join(map(printable, uris))}"
        raise InputError(asked, "no run is published there", "name the outputs of finished runs, or leave it out")
    return runs


def _published_counts(published: PublishedRun, folder: Folder, columns: Sequence[str]) -> RunCounts:
    """The counts of a published run; its labels are read again where its report has no distribution."""
    manifest = published.manifest
    try:
        report = read_report(published.plan_id, folder)
    except AlbertInferError:
        report = Report()
    distribution = report.distribution or distribution_of(manifest, folder)
    by_value = label_counts_by(manifest, folder, columns) if columns else {}
    return RunCounts(manifest.labels, manifest.rejected, distribution, _sample(report), by_value)


def _sample(report: Report) -> SampleCounts | None:
    return report.preflight.sample if report.preflight is not None else None
