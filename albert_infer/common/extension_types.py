"""Which Arrow extension types of input columns are not taken, whatever this process has registered with Arrow."""

from __future__ import annotations

from typing import Any, Final

import pyarrow as pa

# Of Arrow itself. Any other extension type brings code along that looking at a value may run.
KNOWN_EXTENSIONS: Final = (pa.UuidType, pa.JsonType, pa.Bool8Type)
KNOWN_NAMES: Final = frozenset({b"arrow.uuid", b"arrow.json", b"arrow.bool8"})
# Where Arrow keeps the name of an extension type that is not registered.
EXTENSION_NAME: Final = b"ARROW:extension:name"


def holds_unknown_extension(kind: Any) -> bool:
    """Whether the type is an Arrow extension that is not Arrow's own, or holds one at any depth.

    Looking at a value of an extension type runs code that the type brings along: Ray's unpickles what the file holds.
    """
    if isinstance(kind, pa.BaseExtensionType):
        return not isinstance(kind, KNOWN_EXTENSIONS)
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return holds_unknown_extension(kind.value_type)
    return any(is_unknown_extension(kind.field(place)) for place in range(kind.num_fields))


def is_unknown_extension(field: pa.Field) -> bool:
    """The same of a field, which is named as an extension also where nothing has registered the type with Arrow.

    So what a process has imported makes no difference.
    """
    name = (field.metadata or {}).get(EXTENSION_NAME)
    return (name is not None and name not in KNOWN_NAMES) or holds_unknown_extension(field.type)
