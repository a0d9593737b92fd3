"""What a Parquet file says that the numbers of a column mean: the class names of Hugging Face's `datasets`.

Knows nothing of labels; `gold` says which names are ours.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

import pyarrow as pa

from albert_infer.common.json_input import parsed_json

# Where `datasets` keeps the types of a table that Arrow does not have: JSON in the metadata of the schema.
KEY: Final = b"huggingface"
# A name for each of a thousand columns is some ten kilobytes.
MAX_BYTES: Final = 1 << 22

ClassNames = tuple[str, ...]


def class_names(found: pa.Schema, columns: Iterable[str]) -> dict[str, ClassNames]:
    """For each of the columns of numbers that the file names: the name of each number from 0 on.

    A `ClassLabel` without names of its own has its numbers as names: these say nothing.
    """
    raw = (found.metadata or {}).get(KEY)
    if raw is None:
        return {}
    try:
        told = parsed_json(raw, max_bytes=MAX_BYTES)
    except ValueError:
        return {}
    for key in ("info", "features"):
        told = told.get(key) if isinstance(told, dict) else None
    features = told if isinstance(told, dict) else {}
    kinds = dict(zip(found.names, found.types, strict=True))
    numbered = (name for name in columns if name in kinds and _is_numeric(kinds[name]))
    named = ((name, _names_of(features.get(name))) for name in numbered)
    return {name: names for name, names in named if names}


def with_class_names(found: pa.Schema, classes: Iterable[tuple[str, ClassNames]]) -> pa.Schema:
    """The schema with metadata that says what the numbers of these columns mean, as `datasets` writes and reads it."""
    features = {name: {"names": [*names], "_type": "ClassLabel"} for name, names in classes}
    if not features:
        return found
    return found.with_metadata({**(found.metadata or {}), KEY: json.dumps({"info": {"features": features}}).encode()})


def _is_numeric(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _names_of(feature: Any) -> ClassNames:
    """The names that the feature of a column gives; none if it gives none."""
    names = feature.get("names") if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return ()
    return () if names == [str(number) for number in range(len(names))] else tuple(names)
