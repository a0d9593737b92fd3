"""Finds Arrow extension types that input columns must not have, also if they are registered in this process."""

from __future__ import annotations

from typing import Any, Final

import pyarrow as pa

# The extension types of Arrow itself. Reading a value of any other extension type may run code.
KNOWN_EXTENSIONS: Final = (pa.UuidType, pa.JsonType, pa.Bool8Type)
KNOWN_NAMES: Final = frozenset({b"arrow.uuid", b"arrow.json", b"arrow.bool8"})
# The metadata key with the name of an extension type that is not registered.
EXTENSION_NAME: Final = b"ARROW:extension:name"


def holds_unknown_extension(kind: Any) -> bool:
    """Whether the type is an Arrow extension that is not Arrow's own, or has one at any depth.

    Reading a value of an extension type runs the code of this type. Ray's types unpickle bytes of the file.
    """
    if isinstance(kind, pa.BaseExtensionType):
        return not isinstance(kind, KNOWN_EXTENSIONS)
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return holds_unknown_extension(kind.value_type)
    return any(is_unknown_extension(kind.field(index)) for index in range(kind.num_fields))


def is_unknown_extension(field: pa.Field) -> bool:
    """Whether a field has such a type. The field's metadata names the type also if it is not registered.

    So the result does not depend on the imports of the process.
    """
    name = (field.metadata or {}).get(EXTENSION_NAME)
    return (name is not None and name not in KNOWN_NAMES) or holds_unknown_extension(field.type)
