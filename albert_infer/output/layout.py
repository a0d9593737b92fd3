"""The names of all objects below an output. This module knows nothing about their contents.

A final name is used once: it ends in the number and the token of the publication that made the file. Final names sort
in the order of the input, and each begins with the name of its input file.
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
PAIRS: Final = "_pairs/"
RUNS: Final = "_runs/"

# A local file name has at most 255 bytes; the other parts of a final name take up to 70.
MAX_SOURCE_CHARACTERS: Final = 150
# These bytes stay as they are in a final name.
_PLAIN: Final = b"-.0123456789=ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"
_ID: Final = "[0-9a-f]{16}"
_FINAL: Final = re.compile(
    rf"(?:{REJECTED}|{PAIRS})?part-"
    # Outputs of version 1 have names without source, row and publication.
    r"(?:(?P<source>[-,.=~\w]*),(?P<first_row>\d{12,}),)?"
    rf"(?P<unit>{_ID})"
    r"(?:,(?P<number>\d{1,18})-(?P<token>[0-9a-f]{8}))?"
    r"\.parquet",
    re.ASCII,
)
# A staged object: the unit's labels, its rejected rows, its pairs, or why it could not be read.
STAGED: Final = re.compile(rf"{UNITS}(?P<unit>{_ID})\.(?:parquet|rejected\.parquet|pairs\.parquet|quarantine\.json)")
RUN: Final = re.compile(rf"{RUNS}(?P<plan>{_ID})/.+")


@dataclass(frozen=True)
class FinalName:
    """The parts of a final name: the unit, and the number of the publication (0 in outputs of version 1)."""

    unit_id: str
    number: int


def staged_name(unit_id: str) -> str:
    """The name of a labelled unit that is not published."""
    return f"{UNITS}{unit_id}.parquet"


def staged_rejected_name(unit_id: str) -> str:
    """The name of the rejected rows of a unit that is not published."""
    return f"{UNITS}{unit_id}.rejected.parquet"


def staged_pairs_name(unit_id: str) -> str:
    """The name of the pairs of a unit that is not published, where the scores of its rows are published too."""
    return f"{UNITS}{unit_id}.pairs.parquet"


def quarantine_name(unit_id: str) -> str:
    """The name of the object that says why a unit could not be read."""
    return f"{UNITS}{unit_id}.quarantine.json"


def run_folder(plan_id: str) -> str:
    """The folder of a run, with its plan, seal and report."""
    return f"{RUNS}{plan_id}/"


def plan_name(plan_id: str) -> str:
    """The name of a run's plan."""
    return f"{run_folder(plan_id)}plan.json"


def sealed_name(plan_id: str) -> str:
    """The name of a run's seal."""
    return f"{run_folder(plan_id)}sealed.json"


def plan_of(name: str) -> str | None:
    """The plan that `name` is the stored plan of; None for any other name."""
    plan_id = name.removeprefix(RUNS).partition("/")[0]
    return plan_id if name == plan_name(plan_id) else None


def is_seal(name: str) -> bool:
    """Whether `name` is the name of any run's seal."""
    return name == sealed_name(name.rpartition("/")[0].removeprefix(RUNS))


def report_name(plan_id: str) -> str:
    """The name of the report of a run's last start."""
    return f"{run_folder(plan_id)}report.json"


def is_report(name: str) -> bool:
    """Whether this is the report of a run, whichever."""
    return name == report_name(name.rpartition("/")[0].removeprefix(RUNS))


def page_name(plan_id: str) -> str:
    """The page of that report."""
    return f"{run_folder(plan_id)}report.html"


def begun_name(plan_id: str) -> str:
    """The name of the mark that a start writes before it uses objects of earlier starts."""
    return f"{run_folder(plan_id)}begun.json"


def stem(source_key: str, first_row: int, unit_id: str) -> str:
    """The part of a unit's final names that no publication changes; `source_key` is a value of `source_keys`."""
    return f"part-{source_key},{first_row:012d},{unit_id}"


def final_name(stem: str, number: int, token: str) -> str:
    """The published name of a unit's file: rejected rows or pairs if the stem begins with their folder, else labels.

    `number` and `token` (eight random hexadecimal digits) identify the publication that makes the file.
    """
    return f"{stem},{number}-{token}.parquet"


def parsed_final(name: str) -> FinalName | None:
    """Parse a final name; None for any other name."""
    match = _FINAL.fullmatch(name)
    if match is None or (match["source"] is None) != (match["number"] is None):
        return None
    return FinalName(match["unit"], int(match["number"] or 0))


def is_ours(name: str) -> bool:
    """Whether `name` has the form of a run's object, relative to the output."""
    return name == SUCCESS or bool(STAGED.fullmatch(name) or RUN.fullmatch(name) or parsed_final(name))


def is_hidden(name: str) -> bool:
    """Whether readers of a folder skip the name: pyarrow, pandas, Spark, Hive and Ray do."""
    return any(segment.startswith(("_", ".")) for segment in name.split("/"))


def source_keys(names: Iterable[str]) -> Mapping[str, str]:
    """Map each input file to its part of final names; the values sort as the names do.

    A name that is too long is cut, and gets a number among the names with the same beginning. The number may change
    when a file is added.
    """
    keys: dict[str, str] = {}
    encoded = sorted((ordered_text(name), name) for name in set(names))
    for head, group in groupby(encoded, key=lambda pair: pair[0][:MAX_SOURCE_CHARACTERS]):
        for number, (text, name) in enumerate(group):
            keys[name] = text if len(text) <= MAX_SOURCE_CHARACTERS else f"{head}~{number:06d}"
    return keys


def ordered_text(name: str) -> str:
    """Encode a name with characters that every store accepts; the results sort as the bytes of the names do.

    Letters, digits and `-._=` stay as they are, and `/` becomes `.~`. Any other byte becomes the nearest unencoded
    character below it (a comma if there is none), then `~` and two hexadecimal digits. `~` sorts above everything that
    may follow that character in a name without this byte.
    """
    return "".join(_ENCODED[byte] for byte in name.encode())


def _encoded(byte: int) -> str:
    if byte in _PLAIN:
        return chr(byte)
    if byte == ord("/"):
        return ".~"  # the only byte between `.` and `0`
    index = bisect_left(_PLAIN, byte)
    below = chr(_PLAIN[index - 1]) if index else ","
    return f"{below}~{byte:02x}"


_ENCODED: Final = tuple(map(_encoded, range(256)))
