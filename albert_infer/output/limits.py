"""The limits on bad files, on rejected rows and on rows to pay for. Each raises LimitError if it is not held."""

from __future__ import annotations

from albert_infer.common.printable import how_many
from albert_infer.config import LabelSettings
from albert_infer.errors import LimitError
from albert_infer.output.manifest import Quarantined, QuarantinedFile, QuarantinedUnit, Seal


def refuse_limits(seal: Seal, settings: LabelSettings) -> None:
    """Raises LimitError if more files or rows are bad than the operator accepts."""
    refuse_bad_files(seal.quarantined, settings.max_bad_files)
    if seal.rows_in and seal.quarantined.rows_known == seal.rows_in:
        every: list[QuarantinedFile | QuarantinedUnit] = [*seal.quarantined.files, *seal.quarantined.units]
        first = every[0]
        found = f"none of them could be read, first {first.uri}: {first.reason} ({first.detail})"
        raise LimitError(f"publish {seal.rows_in} rows", found, "mend the input, or try again with --retry-quarantined")
    if seal.rejected_rows > settings.max_rejected_share * seal.rows_in:
        found = f"{seal.rejected_rows:,} of {how_many(seal.rows_in, 'row')} without a label {seal.rejected}"
        mend = "mend the input, or raise --max-rejected-share"
        if not seal.labelled:
            mend = "see that --premise-column and --hypothesis-column name the texts, and mend the input"
        remedy = f"look at _units/*.rejected.parquet, {mend}"
        raise LimitError(f"--max-rejected-share {settings.max_rejected_share}", found, remedy)


def refuse_too_many_rows(rows_in: int, max_rows: int | None) -> None:
    """Raises LimitError if the plan has more rows than the operator wants to pay for."""
    if max_rows is not None and rows_in > max_rows:
        found = f"the input has {how_many(rows_in, 'row')}"
        raise LimitError(
            f"--max-rows {max_rows}", found, "look for files that should not be there, or raise --max-rows"
        )


def refuse_bad_files(quarantined: Quarantined, max_bad_files: int) -> None:
    """Raises LimitError if more files are unreadable, whole or in part, than the operator accepts."""
    every: list[QuarantinedFile | QuarantinedUnit] = [*quarantined.files, *quarantined.units]
    entries = {entry.uri: entry for entry in every}
    if len(entries) > max_bad_files:
        uri, first = next(iter(entries.items()))
        found = f"{how_many(len(entries), 'unreadable file')}, first {uri}: {first.reason} ({first.detail})"
        raise LimitError(f"--max-bad-files {max_bad_files}", found, "mend or remove them, or raise --max-bad-files")
