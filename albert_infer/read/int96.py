"""INT96, the old timestamp of Spark, Hive and Impala. Arrow has no type for it.

As nanoseconds, years before 1678 and after 2261 become other years. As microseconds, the last digits are cut off.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from albert_infer.common.column_values import list_values

# The options with which all input files are opened.
READ_OPTIONS: Final = {"coerce_int96_timestamp_unit": "us"}


def int96_columns(metadata: pq.FileMetaData, names: list[str]) -> list[str]:
    """The columns among `names` that contain INT96, at any depth."""
    leaves = (metadata.schema.column(index) for index in range(len(metadata.schema)))
    paths = {leaf.path for leaf in leaves if leaf.physical_type == "INT96"}
    return [name for name in names if any(path == name or path.startswith(f"{name}.") for path in paths)]


def column_that_loses_digits(microseconds: pa.RecordBatch, nanoseconds: pa.RecordBatch) -> str | None:
    """The first column that loses digits in microseconds. `nanoseconds` are the same rows without `READ_OPTIONS`."""
    for name, exact in zip(nanoseconds.schema.names, nanoseconds.columns, strict=True):
        if _loses_digits(microseconds.column(microseconds.schema.get_field_index(name)), exact):
            return str(name)
    return None


def _loses_digits(microseconds: pa.Array, nanoseconds: pa.Array) -> bool:
    kind: Any = microseconds.type
    if kind.equals(nanoseconds.type):
        return False
    if not pa.types.is_timestamp(kind):
        return any(map(_loses_digits, _parts(microseconds), _parts(nanoseconds)))
    cut, exact = (column.drop_null().view(pa.int64()).to_numpy() for column in (microseconds, nanoseconds))
    # The nanoseconds of a distant year overflow 64 bits, and this product overflows in the same way.
    return not np.array_equal(cut * 1000, exact)


def _parts(column: pa.Array) -> Iterator[pa.Array]:
    if pa.types.is_struct(column.type):
        yield from column.flatten()
    else:
        yield list_values(column)[0]
