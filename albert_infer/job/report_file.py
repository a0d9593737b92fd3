"""`report.json`, which each start of a run writes into the run's folder as it ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from albert_infer.errors import AlbertInferError, InfrastructureError, RefusedError
from albert_infer.job.report import Report
from albert_infer.output import layout
from albert_infer.storage import Folder


@contextmanager
def reported(report: Report, output: Folder) -> Iterator[None]:
    """Write the report of a start into its run's folder, whatever its end; one that was refused writes nothing."""
    try:
        yield
    except RefusedError:
        raise
    except BaseException as error:
        report.exit_code = getattr(error, "exit_code", InfrastructureError.exit_code)
        # The end that is being reported matters more than a report that could not be written.
        with suppress(AlbertInferError):
            _write(report, output)
        raise
    _write(report, output)


def _write(report: Report, output: Folder) -> None:
    """Put the report of this start in place of an earlier one's."""
    name = layout.report_name(str(report.plan_id))
    output.replace(name, report.to_json(), output.stat(name))
