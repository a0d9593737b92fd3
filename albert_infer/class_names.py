"""What a Parquet file says that the numbers of a column mean: the class names of Hugging Face's `datasets`.

Knows nothing of labels; `gold` says which names are ours.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

import pyarrow as pa

from albert_infer.json_input import parsed_json

# Where `datasets` keeps the types of a table that Arrow does not have: JSON in the metadata of the schema.
KEY: Final = b"huggingface"
# A name for each of a thousand columns is some ten kilobytes.
MAX_BYTES: Final = 1 << 22

ClassNames = tuple[str, ...]


def class_names(found: pa.Schema, column: str) -> ClassNames:
    """The name of each number from 0 on in a column of numbers; none where the file says nothing about it.

    A `ClassLabel` without names of its own has its numbers as names: these say nothing either.
    """
    raw = (found.metadata or {}).get(KEY)
    if raw is None or column not in found.names:
        return ()
    kind = found.field(column).type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        return ()
    try:
        told = parsed_json(raw, max_bytes=MAX_BYTES)
    except ValueError:
        return ()
    for key in ("info", "features", column):
        told = told.get(key) if isinstance(told, dict) else None
    names = told.get("names") if isinstance(told, dict) and told.get("_type") == "ClassLabel" else None
    return _as_names(names)


def with_class_names(found: pa.Schema, classes: Iterable[tuple[str, ClassNames]]) -> pa.Schema:
    """The schema with metadata that says what the numbers of these columns mean, as `datasets` writes and reads it."""
    features = {name: {"names": [*names], "_type": "ClassLabel"} for name, names in classes}
    if not features:
        return found
    return found.with_metadata({**(found.metadata or {}), KEY: json.dumps({"info": {"features": features}}).encode()})


def _as_names(names: Any) -> ClassNames:
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return ()
    return () if names == [str(number) for number in range(len(names))] else tuple(names)
