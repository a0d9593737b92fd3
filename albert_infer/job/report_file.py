"""Writes `report.json` and `report.html` into the run's folder at the end of each start."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from albert_infer.common import logs
from albert_infer.common.printable import one_line
from albert_infer.errors import AlbertInferError, InfrastructureError, RefusedError
from albert_infer.job.report import Report
from albert_infer.job.report_page import page_of
from albert_infer.output import layout
from albert_infer.output.distribution import Distribution, distribution_of
from albert_infer.output.manifest import Manifest, published_at
from albert_infer.storage import Folder


@contextmanager
def reported(report: Report, output: Folder) -> Iterator[None]:
    """Write the report of a start into its run's folder, after success and failure. A refused start writes nothing."""
    try:
        yield
    except RefusedError:
        raise
    except BaseException as error:
        report.exit_code = getattr(error, "exit_code", InfrastructureError.exit_code)
        report.error = str(error) if isinstance(error, AlbertInferError) else type(error).__name__
        # The error of the start is more important than an error of writing the report.
        with suppress(AlbertInferError):
            _write(report, output)
        raise
    _write(report, output)


def label_distribution(manifest: Manifest, output: Folder) -> Distribution | None:
    """How the labels of a published run are distributed; None, and a warning, where they cannot be read again."""
    try:
        return distribution_of(manifest, output)
    except AlbertInferError as error:  # the run is published: a report without this is no failure
        logs.warn("no_distribution", f"the report has no distribution of labels: {error}")
        return None


def _write(report: Report, output: Folder) -> None:
    """Write the report of this start and its page over those of an earlier one."""
    put_over(layout.report_name(str(report.plan_id)), report.to_json(), output)
    try:
        write_page(report, output)
    except Exception as error:  # the run ends as it does: a page that cannot be made, for any reason, changes nothing
        logs.warn("no_report_page", f"report.html was not written: {one_line(error)}")


def write_page(report: Report, output: Folder) -> str:
    """Write the page next to the report. Returns its name below the output. Raises AlbertInferError."""
    published = published_at(output) if report.exit_code == 0 else None
    name = layout.page_name(str(report.plan_id))
    put_over(name, page_of(report, output, published.manifest if published else None).html(), output)
    return name


def put_over(name: str, data: bytes, output: Folder) -> None:
    """Write an object over an older one of its name. If somebody else writes it too, one of both wins."""
    output.replace(name, data, output.stat(name))
