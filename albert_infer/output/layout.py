"""The names of all objects below an output. Knows nothing of what they hold.

The final name of a file is given once and never again: it ends in the number and the token of the publication that
made it. Final names sort in the order of the input, and each begins with the name of its input file.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Final

SUCCESS: Final = "_SUCCESS"
UNITS: Final = "_units/"
REJECTED: Final = "_rejected/"
RUNS: Final = "_runs/"

# A name is at most 255 bytes on a local disk; the other parts of a final name take up to 70.
MAX_SOURCE_CHARACTERS: Final = 150
# These stand for themselves in a final name.
_PLAIN: Final = b"-.0123456789=ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"
_ID: Final = "[0-9a-f]{16}"
_FINAL: Final = re.compile(
    rf"(?P<rejected>{REJECTED})?part-"
    # Without source, row and publication in outputs of version 1.
    r"(?:(?P<source>[-,.=~\w]*),(?P<first_row>\d{12,}),)?"
    rf"(?P<unit>{_ID})"
    r"(?:,(?P<number>\d{1,18})-(?P<token>[0-9a-f]{8}))?"
    r"\.parquet",
    re.ASCII,
)
# A staged object: the unit's labels, its rejected rows, or why it could not be read.
STAGED: Final = re.compile(rf"{UNITS}(?P<unit>{_ID})\.(?:parquet|rejected\.parquet|quarantine\.json)")
RUN: Final = re.compile(rf"{RUNS}(?P<plan>{_ID})/.+")


@dataclass(frozen=True)
class FinalName:
    """What a final name says: its unit, and the number of the publication that gave it; 0 in outputs of version 1."""

    unit_id: str
    number: int


def staged_name(unit_id: str) -> str:
    """A finished unit that is not published."""
    return f"{UNITS}{unit_id}.parquet"


def staged_rejected_name(unit_id: str) -> str:
    """The rejected rows of a finished unit that is not published."""
    return f"{UNITS}{unit_id}.rejected.parquet"


def quarantine_name(unit_id: str) -> str:
    """Why a unit could not be read."""
    return f"{UNITS}{unit_id}.quarantine.json"


def run_folder(plan_id: str) -> str:
    """Where a run keeps its plan, seal and report."""
    return f"{RUNS}{plan_id}/"


def plan_name(plan_id: str) -> str:
    """The plan of a run."""
    return f"{run_folder(plan_id)}plan.json"


def sealed_name(plan_id: str) -> str:
    """The seal of a run."""
    return f"{run_folder(plan_id)}sealed.json"


def is_seal(name: str) -> bool:
    """Whether this is the seal of a run, whichever."""
    return name == sealed_name(name.rpartition("/")[0].removeprefix(RUNS))


def report_name(plan_id: str) -> str:
    """The report of the last start of a run."""
    return f"{run_folder(plan_id)}report.json"


def begun_name(plan_id: str) -> str:
    """The mark of a start that counts on objects of earlier starts."""
    return f"{run_folder(plan_id)}begun.json"


def stem(source_key: str, first_row: int, unit_id: str) -> str:
    """What the final names of a unit begin with, whatever the publication; `source_key` as `source_keys` gives it."""
    return f"part-{source_key},{first_row:012d},{unit_id}"


def final_name(stem: str, number: int, token: str) -> str:
    """The file of a unit as readers see it: rejected rows where the stem begins with `REJECTED`, else labels.

    `number` and `token`, eight random hexadecimal digits, are those of the publication that makes the file.
    """
    return f"{stem},{number}-{token}.parquet"


def parsed_final(name: str) -> FinalName | None:
    """What a final name says; None for a name that no publication gave."""
    found = _FINAL.fullmatch(name)
    if found is None or (found["source"] is None) != (found["number"] is None):
        return None
    return FinalName(found["unit"], int(found["number"] or 0))


def is_ours(name: str) -> bool:
    """Whether a run gives such names, below its output."""
    return name == SUCCESS or bool(STAGED.fullmatch(name) or RUN.fullmatch(name) or parsed_final(name))


def is_hidden(name: str) -> bool:
    """Whether readers of a folder skip the name, as pyarrow, pandas, Spark, Hive and Ray do."""
    return any(segment.startswith(("_", ".")) for segment in name.split("/"))


def source_keys(names: Iterable[str]) -> Mapping[str, str]:
    """How each input file is called in final names: the keys sort as the names do.

    A name that is too long is cut, and gets its place among those with the same beginning; such a place may change
    when a file is added.
    """
    keys: dict[str, str] = {}
    encoded = sorted((ordered_text(name), name) for name in set(names))
    for head, group in groupby(encoded, key=lambda pair: pair[0][:MAX_SOURCE_CHARACTERS]):
        for place, (text, name) in enumerate(group):
            keys[name] = text if len(text) <= MAX_SOURCE_CHARACTERS else f"{head}~{place:06d}"
    return keys


def ordered_text(name: str) -> str:
    """A name in characters that every store takes; two texts sort as the bytes of the two names do.

    Letters, digits and `-._=` stand for themselves, and `/` becomes `.~`. Any other byte becomes the nearest character
    below it that stands for itself (a comma if there is none), then `~` and two hexadecimal digits: `~` sorts above
    everything that may follow that character where it stands for itself.
    """
    return "".join(_ENCODED[byte] for byte in name.encode())


def _encoded(byte: int) -> str:
    if byte in _PLAIN:
        return chr(byte)
    if byte == ord("/"):
        return ".~"  # the only byte between `.` and `0`
    place = bisect_left(_PLAIN, byte)
    below = chr(_PLAIN[place - 1]) if place else ","
    return f"{below}~{byte:02x}"


_ENCODED: Final = tuple(map(_encoded, range(256)))
