"""The gate before publishing: labels that differ from those of earlier runs are reported, or refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from albert_infer import storage
from albert_infer.common import logs
from albert_infer.common.printable import how_many, printable
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
    run = RunCounts(seal.labels, seal.rejected, report.distribution, _sample(report), columns, seal.labelled)
    references = {uri: each for uri, each in references.items() if each.distribution.axes == report.distribution.axes}
    if not references:
        return None
    drift = compared(run, references, max_distance=settings.max_drift)
    if drift.drifted and settings.drift == "fail":
        remedy = "look at the labels; to publish them all the same, run it again with --drift warn"
        raise LimitError("labels like those of earlier runs", f"the run {drift.to_text()}", remedy)
    if drift.drifted:
        logs.warn("drift", f"the run {drift.to_text()}")
    return drift


def reference_runs(settings: LabelSettings, access: S3Access, report: Report) -> dict[str, RunCounts]:
    """The first `MAX_RUNS` references that are published, by URI.

    A reference that cannot be read is left out with a warning. References with another rule, another set of hypotheses
    or another split than the run of `report` are left out, and one warning names the first of them. Raises InputError
    where the settings require a reference and no published one is left.
    """
    runs: dict[str, RunCounts] = {}
    differing: list[str] = []
    uris: Sequence[str] = settings.reference if settings.drift != "off" else ()
    for uri in uris:
        if len(runs) == MAX_RUNS:
            break
        folder = storage.open_folder(uri, access)
        try:
            published = published_at(folder)
            if published is None:
                continue
            of_reference = _report_of(published, folder)
            if (difference := _difference(report, of_reference, published)) is not None:
                differing.append(f"{printable(folder.uri)}: {difference}")
                continue
            runs[printable(folder.uri)] = _published_counts(published, of_reference, folder, settings.drift_columns)
        except AlbertInferError as error:
            logs.warn("reference_unreadable", f"--reference {folder.uri} is left out: {error}")
    if differing:
        runs_left_out = f"{how_many(len(differing), 'reference')} left out, because their labels mean something else"
        logs.warn("reference_differs", f"{runs_left_out}; first {differing[0]}")
    if uris and settings.requires_reference and not runs:
        asked = f"--reference {', '.join(map(printable, uris))}"
        problem = "no run is published there that this run can be compared with"
        raise InputError(asked, problem, "name the outputs of finished runs with the same questions, or leave it out")
    return runs


def _report_of(published: PublishedRun, folder: Folder) -> Report | None:
    """The report of a published run; None if it cannot be read."""
    try:
        return read_report(published.plan_id, folder)
    except AlbertInferError:
        return None


def _difference(report: Report, of_reference: Report | None, published: PublishedRun) -> str | None:
    """Why the labels of a published run have another meaning than those of the run of `report`; None if they do not."""
    if of_reference is None:
        # Without its report, only a run whose rows are pairs is known to be comparable.
        comparable = report.expansion is None and not published.manifest.pairs
        return None if comparable else "its report cannot be read, and so its rule and its hypotheses are not known"
    ours, its = report.expansion, of_reference.expansion
    if ours is None or its is None:
        return None if ours is its else "only one of both runs makes several pairs of a row"
    if ours.counted == its.counted:
        return None
    return f"it has another rule, set of hypotheses or split: {its.to_text()}; this run: {ours.to_text()}"


def _published_counts(
    published: PublishedRun, report: Report | None, folder: Folder, columns: Sequence[str]
) -> RunCounts:
    """The counts of a published run; its labels are read again where its report has no distribution."""
    manifest, report = published.manifest, report or Report()
    distribution = report.distribution or distribution_of(manifest, folder)
    by_value = label_counts_by(manifest, folder, columns) if columns else {}
    return RunCounts(manifest.labels, manifest.rejected, distribution, _sample(report), by_value, manifest.labelled)


def _sample(report: Report) -> SampleCounts | None:
    return report.preflight.sample if report.preflight is not None else None
