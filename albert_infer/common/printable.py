"""Makes text from outside printable in one line of a terminal or a log. Knows nothing of the contents.

Names of files and columns, messages of libraries and values of columns come from outside. Without escapes, they could
start new lines, colour or hide other text, or end the job with a UnicodeEncodeError.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NewType

# Lines from `text_of` or `printed`, separated by line feeds.
PrintableText = NewType("PrintableText", str)

# Characters that Python calls printable, but that are invisible: fillers, joiners and variation selectors. With them,
# two different names look the same.
_INVISIBLE: Final = re.compile(
    r"[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
# The longest part of a library's message that is shown. The message may quote a file.
REASON_LETTERS: Final = 200


def printable(text: str) -> str:
    r"""The text with an escape for each character that is not visible: `\n`, `\x1b`, `\u202e`, `\udcff`.

    Spaces and printable characters of any script stay. The result is always one line, and can be encoded as UTF-8.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(letter if _is_visible(letter) else ascii(letter)[1:-1] for letter in text)


def one_line(value: object) -> str:
    """`str(value)` in one printable line, with one space for each run of whitespace."""
    return printable(" ".join(str(value).split()))


def reason_of(error: BaseException) -> str:
    """The class and the message of a library's error, in one printable line of limited length."""
    return f"{type(error).__name__}: {one_line(error)[:REASON_LETTERS]}"


def how_many(count: float, what: str, plural: str | None = None) -> str:
    """The count with its noun: `1 file`, `3,000 files`. `plural` is for other plurals, such as `batches`."""
    number = f"{count:,}" if isinstance(count, int) else f"{count:g}"
    return f"{number} {what if count == 1 else plural or what + 's'}"


def text_of(lines: Iterable[str]) -> PrintableText:
    """The lines as one text. Each line is made printable, so no name in it can start a new line."""
    return PrintableText("\n".join(map(printable, lines)))


def printed(text: str) -> PrintableText:
    """A text of several lines, such as another program's log, made printable. Line feeds stay, tabs become spaces."""
    return text_of(text.expandtabs().split("\n"))


def _is_visible(letter: str) -> bool:
    return letter.isprintable() and not _INVISIBLE.match(letter)
