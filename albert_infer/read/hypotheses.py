"""The set of hypotheses of a run: from a file, or from the candidates of the settings. A set with a fault is refused.

`docs/reference/inputs.md` has the form of the file.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Final

from albert_infer import storage
from albert_infer.common.printable import printable
from albert_infer.config import ManyQuestions
from albert_infer.errors import InputError
from albert_infer.read.hypothesis_files import COLUMNS, SUFFIXES, Entry, EntryError, entries_of, shown
from albert_infer.schema import HYPOTHESIS, HYPOTHESIS_ID, FoldRule, HypothesisSet
from albert_infer.storage import DEFAULT_ACCESS, AccessError, DeadLinkError, ObjectPin, S3Access

# Each premise makes this number of pairs at most.
MAX_HYPOTHESES: Final = 10_000
MAX_FILE_BYTES: Final = 64 << 20
# A hypothesis is a sentence or two; no checkpoint reads more of it.
MAX_HYPOTHESIS_BYTES: Final = 64 << 10
# Ids are in every row of the output.
MAX_ID_BYTES: Final = 1 << 10
_MOST_BYTES: Final = {HYPOTHESIS_ID: MAX_ID_BYTES, HYPOTHESIS: MAX_HYPOTHESIS_BYTES}
# Separators, and characters without a shape. `prepare.validation` calls the same texts of the input blank.
_INVISIBLE: Final = frozenset({"Zs", "Zl", "Zp", "Cc", "Cf"})
_PAGE: Final = "docs/reference/inputs.md"


def hypothesis_set(settings: ManyQuestions, access: S3Access = DEFAULT_ACCESS) -> HypothesisSet | None:
    """The set that the settings name, in the order of the file or of the candidates; None if they name none.

    The id of a candidate is the candidate. Raises InputError for a file that is missing, too large or of another form,
    for a fault of one of its rows, and for a set that the rule cannot rank. Raises SettingsError for an invalid URI.
    """
    asked = "--candidates"
    try:
        if settings.hypotheses is None:
            pairs = zip(settings.candidates, settings.candidate_texts, strict=True)
            entries = [Entry(f"candidate {index:,}", *pair) for index, pair in enumerate(pairs, 1)]
            return checked_set(entries) if entries else None
        # A URI with credentials is refused here, and no message repeats it.
        uri = storage.open_folder(settings.hypotheses, access).uri
        asked = f"--hypotheses {printable(uri)}"
        hypotheses = _read(settings.hypotheses, access)
    except (EntryError, AccessError, DeadLinkError) as error:
        raise InputError(asked, error.problem, error.remedy) from error
    if len(hypotheses) < 2 and settings.fold_rule is FoldRule.TOPICS:
        problem = "it has one hypothesis, and with the rule topics a single one always scores 1"
        raise InputError(asked, problem, "add hypotheses, or give --fold topics_multi")
    return hypotheses


def _read(location: str, access: S3Access) -> HypothesisSet:
    # The suffix is that of the name as it was given: a link may lead to another name.
    read = entries_of(location)
    folder, pin = _pinned(location, access)
    if read is None:
        suffix = PurePosixPath(location).suffix
        problem = f"its name ends in {shown(suffix)}" if suffix else "its name has no ending"
        raise EntryError(problem, f"give a file that ends in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")
    if pin.size > MAX_FILE_BYTES:
        problem = f"it has {pin.size:,} bytes, and at most {MAX_FILE_BYTES:,} are read"
        raise EntryError(
            problem, f"give {MAX_HYPOTHESES:,} hypotheses or fewer, in the columns {' and '.join(COLUMNS)}"
        )
    data = b""
    if pin.size:  # S3 has no range of no bytes
        with folder.open_pinned(pin) as file:
            data = file.read() or b""
    return checked_set(read(data) if data else ())


def _pinned(location: str, access: S3Access) -> tuple[storage.Folder, ObjectPin]:
    """The file at a location, and its folder. Raises EntryError if no file is there."""
    remedy = "give the location of one file"
    uri = storage.open_folder(location, access).uri
    parent, _, name = uri.rpartition("/")
    if location.endswith("/") or not name or parent == "s3:/":
        raise EntryError("it is a folder, and one file is expected", remedy)
    folder = storage.open_folder(parent or "/", access)
    pin = folder.stat(name)
    if pin is not None:
        return folder, pin
    if storage.open_folder(uri, access).objects():
        raise EntryError("it is a folder, and one file is expected", remedy)
    raise EntryError("nothing is there", f"correct the location; {remedy}")


def checked_set(entries: Iterable[Entry]) -> HypothesisSet:
    """The set with these entries, in their order. Raises EntryError for a fault of one of them."""
    first: dict[str, str] = {}
    texts: list[str] = []
    for entry in entries:
        identifier = _text(entry.where, HYPOTHESIS_ID, entry.identifier)
        if identifier in first:
            problem = f"{entry.where} has the `{HYPOTHESIS_ID}` {shown(identifier)}, as {first[identifier]} has"
            raise EntryError(problem, "give each hypothesis an id of its own")
        if len(texts) == MAX_HYPOTHESES:
            problem = f"{entry.where} is hypothesis {len(texts) + 1:,}, and at most {MAX_HYPOTHESES:,} are read"
            raise EntryError(problem, "label with a part of them in each run")
        first[identifier] = entry.where
        texts.append(_text(entry.where, HYPOTHESIS, entry.text))
    if not texts:
        raise EntryError("it has no rows", f"write one hypothesis a row; {_PAGE} has examples")
    return HypothesisSet(tuple(first), tuple(texts))


def _text(where: str, name: str, value: str | bytes | None) -> str:
    """The text. Raises EntryError if it is null, blank, too long or not UTF-8."""
    if value is None:
        raise EntryError(f"{where}: `{name}` is null", "give each row an id and a text")
    try:
        data, text = (value, value.decode()) if isinstance(value, bytes) else (value.encode(), value)
    except UnicodeError as error:
        raise EntryError(f"{where}: `{name}` is not UTF-8", "write it in UTF-8") from error
    if all(letter.isspace() or unicodedata.category(letter) in _INVISIBLE for letter in text):
        raise EntryError(f"{where}: `{name}` is blank", "give each row an id and a text")
    if len(data) > _MOST_BYTES[name]:
        problem = f"{where}: `{name}` has {len(data):,} bytes, and at most {_MOST_BYTES[name]:,} are read"
        raise EntryError(problem, "shorten it")
    return text
