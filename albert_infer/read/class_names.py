"""Reads and writes the class names of a column of numbers, in the metadata that Hugging Face's `datasets` uses.

Knows nothing of labels. `preflight.gold` maps class names to labels.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

import pyarrow as pa

from albert_infer.common.json_input import parsed_json

# The key of the schema's metadata where `datasets` stores its own types, as JSON.
KEY: Final = b"huggingface"
# The names of a thousand columns have some ten kilobytes.
MAX_BYTES: Final = 1 << 22

ClassNames = tuple[str, ...]


def class_names(schema: pa.Schema, columns: Iterable[str]) -> dict[str, ClassNames]:
    """The class names of those `columns` that have numbers and names: the name of each number, from 0 on.

    Ignores a `ClassLabel` whose names are just its numbers.
    """
    raw = (schema.metadata or {}).get(KEY)
    if raw is None:
        return {}
    try:
        metadata = parsed_json(raw, max_bytes=MAX_BYTES)
    except ValueError:
        return {}
    for key in ("info", "features"):
        metadata = metadata.get(key) if isinstance(metadata, dict) else None
    features = metadata if isinstance(metadata, dict) else {}
    kinds = dict(zip(schema.names, schema.types, strict=True))
    numbered = (name for name in columns if name in kinds and _is_numeric(kinds[name]))
    named = ((name, _names_of(features.get(name))) for name in numbered)
    return {name: names for name, names in named if names}


def with_class_names(schema: pa.Schema, classes: Iterable[tuple[str, ClassNames]]) -> pa.Schema:
    """The schema with the class names of these columns in its metadata, in the format of `datasets`."""
    features = {name: {"names": [*names], "_type": "ClassLabel"} for name, names in classes}
    if not features:
        return schema
    return schema.with_metadata({**(schema.metadata or {}), KEY: json.dumps({"info": {"features": features}}).encode()})


def _is_numeric(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _names_of(feature: Any) -> ClassNames:
    """The class names in the feature of a column, or an empty tuple."""
    names = feature.get("names") if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return ()
    return () if names == [str(number) for number in range(len(names))] else tuple(names)
