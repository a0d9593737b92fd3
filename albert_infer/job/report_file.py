"""Writes `report.json` into the run's folder at the end of each start."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from albert_infer.errors import AlbertInferError, InfrastructureError, RefusedError
from albert_infer.job.report import Report
from albert_infer.output import layout
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
        # The error of the start is more important than an error of writing the report.
        with suppress(AlbertInferError):
            _write(report, output)
        raise
    _write(report, output)


def _write(report: Report, output: Folder) -> None:
    """Write the report of this start over the report of an earlier one."""
    name = layout.report_name(str(report.plan_id))
    output.replace(name, report.to_json(), output.stat(name))
