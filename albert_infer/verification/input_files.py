"""Which objects of an input are input: the rules of `docs/reference/inputs.md`, read here a second time.

`storage.input_names` has them for the steps that publish. An object that a wrong rule there leaves out shows only
because these rules are separate.
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
# Of editors and people, of browsers, of tools that download or upload, and of Hadoop.
COPY_ENDINGS: Final = (
    *("~", ".bak", ".backup", ".old", ".orig", ".save", ".swo", ".swp", ".swx"),
    *(".crdownload", ".opdownload", ".download", ".part", ".partial"),
    *(".filepart", ".aria2", ".part.minio", ".!ut", ".!qb", ".gstmp", "_.gstmp", ".incomplete", ".uploading"),
    *("._copying_", ".copying"),
)
# Of files that are still being written; a number or a name may follow.
OPEN_FILE: Final = re.compile(r"\.(tmp|temp|inprogress|in-progress|pending)([._-][\w-]+)?$")


def is_input(found: InputObjects, pin: ObjectPin) -> bool:
    """A file that was named; in a folder what is Parquet by its name or its first bytes, and not left out by a rule."""
    if found.uri != found.folder.uri:
        return True
    by_name = is_input_by_name(pin.name)
    if by_name is not None:
        return by_name
    try:
        with found.folder.open_pinned(pin) as file:
            return file.read(len(MAGICS[0])) in MAGICS
    except (AccessError, DeadLinkError):
        return may_be_parquet(pin.name)


def is_input_by_name(name: str) -> bool | None:
    """Whether the name, below the input's folder, makes an object input; None where its first bytes decide."""
    *folders, last = name.split("/")
    if any(map(_is_hidden, [*folders, last])) or any(_is_copy(folder) for folder in folders if "=" not in folder):
        return False
    *before, ending = last.lower().split(".")
    if before and ending in PARQUET:
        return True
    return False if _is_copy(last) or _goes_on_after_parquet(last) else None


def may_be_parquet(name: str) -> bool:
    """Whether the name allows that an object whose bytes cannot be read is Parquet."""
    first, *endings = name.rpartition("/")[2].lower().split(".")
    if not endings or endings[-1] in CODECS or "parquet" in ".".join([first, *endings]):
        return True
    return any(re.split(r"\W", ending)[0] in PARQUET for ending in endings)


def _is_hidden(segment: str) -> bool:
    """By a full stop, or by an underscore where the segment is no partition (`_day=2026-11-21`)."""
    return segment[:1] == "." or (segment[:1] == "_" and "=" not in segment)


def _is_copy(segment: str) -> bool:
    """By its ending; by the whole name those of Kafka Connect, of Office and of Emacs."""
    lowered = segment.lower()
    if lowered.endswith(COPY_ENDINGS) or OPEN_FILE.search(lowered) is not None:
        return True
    return segment == "+tmp" or segment[:2] == "~$" or (len(segment) > 1 and segment[0] == segment[-1] == "#")


def _goes_on_after_parquet(name: str) -> bool:
    """Whether something other than a codec follows `.parquet.`, as in wget's `a.parquet.1`."""
    parts = name.lower().split(".")
    places = (place for place, part in enumerate(parts[:-1]) if place and part in PARQUET)
    return any(".".join(parts[place + 1 :]) not in CODECS for place in places)
