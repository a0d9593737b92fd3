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
from albert_infer.job.report_page import read_report
from albert_infer.output.distribution import Distribution, distribution_of
from albert_infer.output.manifest import Manifest, PublishedRun, Seal, published_at
from albert_infer.storage import Folder, S3Access

# More say little more about ordinary variation.
MAX_RUNS: Final = 7


def drift_of(
    seal: Seal, distribution: Distribution | None, references: Mapping[str, RunCounts], settings: LabelSettings
) -> Drift | None:
    """The sealed run compared with the references; None without any. Warns of drift.

    Raises LimitError for drift where the settings say `fail`.
    """
    if not references or distribution is None:
        return None
    run = RunCounts(seal.labels, seal.rejected, distribution)
    drift = compared(run, references, max_distance=settings.max_drift)
    if drift.drifted and settings.drift == "fail":
        remedy = "look at the labels; to publish them all the same, run it again with --drift warn"
        raise LimitError("labels like those of earlier runs", f"the run {drift.to_text()}", remedy)
    if drift.drifted:
        logs.warn("drift", f"the run {drift.to_text()}")
    return drift


def run_counts(manifest: Manifest, output: Folder) -> RunCounts:
    """What is compared of a published or sealed run. Raises AlbertInferError for labels that cannot be read."""
    return RunCounts(manifest.labels, manifest.rejected, distribution_of(manifest, output))


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
                runs[printable(folder.uri)] = _published_counts(published, folder)
        except AlbertInferError as error:
            logs.warn("reference_unreadable", f"--reference {folder.uri} is left out: {error}")
    if uris and settings.requires_reference and not runs:
        asked = f"--reference {', '.join(map(printable, uris))}"
        raise InputError(asked, "no run is published there", "name the outputs of finished runs, or leave it out")
    return runs


def _published_counts(published: PublishedRun, folder: Folder) -> RunCounts:
    """The counts of a published run; its labels are read again where its report has no distribution."""
    manifest = published.manifest
    try:
        distribution = read_report(published.plan_id, folder).distribution
    except AlbertInferError:
        distribution = None
    if distribution is None:
        return run_counts(manifest, folder)
    return RunCounts(manifest.labels, manifest.rejected, distribution)
