"""Text from outside, made fit for a line on a terminal or in a log. Knows nothing of what the lines say.

Names of files and columns, messages of libraries and values of columns belong to somebody else. Printed as they are
they could begin lines of their own, colour or hide others, or end the job with a UnicodeEncodeError.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NewType

# Lines that `text_of` or `printed` made, with a line feed between them.
PrintableText = NewType("PrintableText", str)

# Letters and marks to Unicode that are drawn as nothing: fillers, joiners and variation selectors. With one of them two
# names that differ look the same. All others without a picture are not printable to Python either.
_INVISIBLE: Final = re.compile(
    r"[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
# Of a library's message: it may quote what a file holds.
REASON_LETTERS: Final = 200


def printable(text: str) -> str:
    r"""The text with every character escaped that is not seen in its place: `\n`, `\x1b`, `\u202e`, `\udcff`.

    Spaces and printable characters of any script stay. Whatever `text` holds, this is one line, and has a UTF-8.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(letter if _is_seen(letter) else ascii(letter)[1:-1] for letter in text)


def one_line(told: object) -> str:
    """What is told, in one printable line, with one space for any whitespace."""
    return printable(" ".join(str(told).split()))


def reason_of(error: BaseException) -> str:
    """The kind and the message of a library's error, in one printable line of limited length."""
    return f"{type(error).__name__}: {one_line(error)[:REASON_LETTERS]}"


def how_many(count: float, what: str, several: str | None = None) -> str:
    """The count with what is counted: `1 file`, `3,000 files`; `several` where it does not end in an s."""
    number = f"{count:,}" if isinstance(count, int) else f"{count:g}"
    return f"{number} {what if count == 1 else several or what + 's'}"


def text_of(lines: Iterable[str]) -> PrintableText:
    """The lines of a text, each made printable: whatever a name holds, it stays on its line."""
    return PrintableText("\n".join(map(printable, lines)))


def printed(text: str) -> PrintableText:
    """A text of several lines, somebody else's log for one, that keeps its line feeds and nothing else of that kind."""
    return text_of(text.split("\n"))


def _is_seen(letter: str) -> bool:
    return letter.isprintable() and not _INVISIBLE.match(letter)
