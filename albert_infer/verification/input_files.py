"""Decides which objects of a folder are input files: a second implementation of `docs/reference/inputs.md`.

`storage.input_names` has the rules for the steps that publish. Only a separate implementation reveals an input file
that a wrong rule leaves out.
"""

from __future__ import annotations

import re
from typing import Final

from albert_infer.storage import AccessError, DeadLinkError, InputObjects, ObjectPin

# The first bytes of Parquet, and of Parquet with an encrypted footer.
MAGICS: Final = (b"PAR1", b"PARE")
PARQUET: Final = frozenset({"parquet", "pq", "parq"})
CODECS: Final = frozenset(
    {"gz", "gzip", "snappy", "zst", "zstd", "lz4", "lzo", "br", "brotli", "bz2", "zlib", "none", "uncompressed"}
)
# The endings of editors and people, of browsers, of tools that download or upload, and of Hadoop.
COPY_ENDINGS: Final = (
    *("~", ".bak", ".backup", ".old", ".orig", ".save", ".swo", ".swp", ".swx"),
    *(".crdownload", ".opdownload", ".download", ".part", ".partial"),
    *(".filepart", ".aria2", ".part.minio", ".!ut", ".!qb", ".gstmp", "_.gstmp", ".incomplete", ".uploading"),
    *("._copying_", ".copying"),
)
# The endings of files that are still being written; a number or a name may follow.
OPEN_FILE: Final = re.compile(r"\.(tmp|temp|inprogress|in-progress|pending)([._-][\w-]+)?$")


def is_input(input_objects: InputObjects, pin: ObjectPin) -> bool:
    """Whether an object is input: a named file, or an object of a folder that is Parquet and not left out by a rule."""
    if input_objects.uri != input_objects.folder.uri:
        return True
    by_name = is_input_by_name(pin.name)
    if by_name is not None:
        return by_name
    try:
        with input_objects.folder.open_pinned(pin) as file:
            return file.read(len(MAGICS[0])) in MAGICS
    except (AccessError, DeadLinkError):
        return may_be_parquet(pin.name)


def is_input_by_name(name: str) -> bool | None:
    """Whether the name, relative to the input's folder, makes an object input; None if its first bytes decide."""
    *folders, last = name.split("/")
    if any(map(_is_hidden, [*folders, last])) or any(_is_copy(folder) for folder in folders if "=" not in folder):
        return False
    *before, ending = last.lower().split(".")
    if before and ending in PARQUET:
        return True
    return False if _is_copy(last) or _goes_on_after_parquet(last) else None


def may_be_parquet(name: str) -> bool:
    """Whether an object with this name may be Parquet, if its bytes cannot be read."""
    first, *endings = name.rpartition("/")[2].lower().split(".")
    if not endings or endings[-1] in CODECS or "parquet" in ".".join([first, *endings]):
        return True
    return any(re.split(r"\W", ending)[0] in PARQUET for ending in endings)


def _is_hidden(segment: str) -> bool:
    """Whether the segment begins with a full stop, or with an underscore and is no partition (`_day=2026-11-21`)."""
    return segment[:1] == "." or (segment[:1] == "_" and "=" not in segment)


def _is_copy(segment: str) -> bool:
    """Whether the segment has the ending of a copy, or a name of Kafka Connect, Office or Emacs."""
    lowered = segment.lower()
    if lowered.endswith(COPY_ENDINGS) or OPEN_FILE.search(lowered) is not None:
        return True
    return segment == "+tmp" or segment[:2] == "~$" or (len(segment) > 1 and segment[0] == segment[-1] == "#")


def _goes_on_after_parquet(name: str) -> bool:
    """Whether something other than a codec follows `.parquet.`, as in wget's `a.parquet.1`."""
    parts = name.lower().split(".")
    indices = (index for index, part in enumerate(parts[:-1]) if index and part in PARQUET)
    return any(".".join(parts[index + 1 :]) not in CODECS for index in indices)
