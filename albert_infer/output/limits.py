"""The limits on bad files, on rejected rows and on rows of the input. Each function raises LimitError."""

from __future__ import annotations

from albert_infer.common.printable import how_many
from albert_infer.config import LabelSettings
from albert_infer.errors import LimitError
from albert_infer.output.manifest import Quarantined, QuarantinedFile, QuarantinedUnit, Seal


def refuse_limits(seal: Seal, settings: LabelSettings) -> None:
    """Raises LimitError if more files or rows are bad than the settings accept."""
    refuse_bad_files(seal.quarantined, settings.max_bad_files)
    if seal.rows_in and seal.quarantined.rows_known == seal.rows_in:
        every: list[QuarantinedFile | QuarantinedUnit] = [*seal.quarantined.files, *seal.quarantined.units]
        first = every[0]
        problem = f"none of them could be read, first {first.uri}: {first.reason} ({first.detail})"
        remedy = "mend the input, or try again with --retry-quarantined"
        raise LimitError(f"publish {seal.rows_in} rows", problem, remedy)
    if seal.rejected_rows > settings.max_rejected_share * seal.rows_in:
        reasons = ", ".join(f"{reason} {rows:,}" for reason, rows in seal.rejected.items())
        problem = f"{seal.rejected_rows:,} of {how_many(seal.rows_in, 'row')} without a label ({reasons})"
        mend = "mend the input, or raise --max-rejected-share"
        if not seal.labelled:
            mend = "see that --premise-column and --hypothesis-column name the texts, and mend the input"
        remedy = f"look at {settings.output.rstrip('/')}/_units/*.rejected.parquet, {mend}"
        raise LimitError(f"--max-rejected-share {settings.max_rejected_share}", problem, remedy)


def refuse_too_many_rows(rows_in: int, max_rows: int | None) -> None:
    """Raises LimitError if the plan has more rows than `max_rows`."""
    if max_rows is not None and rows_in > max_rows:
        problem = f"the input has {how_many(rows_in, 'row')}"
        raise LimitError(
            f"--max-rows {max_rows}", problem, "look for files that should not be there, or raise --max-rows"
        )


def refuse_bad_files(quarantined: Quarantined, max_bad_files: int) -> None:
    """Raises LimitError if more than `max_bad_files` files are unreadable, in whole or in part."""
    every: list[QuarantinedFile | QuarantinedUnit] = [*quarantined.files, *quarantined.units]
    entries = {entry.uri: entry for entry in every}
    if len(entries) > max_bad_files:
        uri, first = next(iter(entries.items()))
        problem = f"{how_many(len(entries), 'unreadable file')}, first {uri}: {first.reason} ({first.detail})"
        raise LimitError(f"--max-bad-files {max_bad_files}", problem, "mend or remove them, or raise --max-bad-files")
