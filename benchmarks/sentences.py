"""`python -m benchmarks.sentences`: how well and how fast libraries split texts into sentences.

`sentences.jsonl` has short texts, with the sentences that a person sees in them. Each library splits each text with its
rules for English. A boundary is the first character of a sentence, except of the first in its text. A sentence is right
if both its ends are, without whitespace. Libraries that are not installed are named. The second table has texts of
1 MiB, split by the package: ordinary ones, and those that take the library longest.
"""

from __future__ import annotations

import argparse
import importlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

import pyarrow as pa
from rich.console import Console
from rich.table import Table

from albert_infer.prepare.sentences import SPLITTER, split_texts
from benchmarks import machine
from benchmarks.contender import not_installed

GOLD: Final = Path(__file__).with_suffix(".jsonl")

# What a text of 1 MiB repeats.
HUGE: Final = {
    "English, one paragraph": "Dr. Ames plays a song in the park. A dog sleeps, e.g. under a bench! ",
    "Chinese, one paragraph": "天气很好。我们去公园吧！",  # noqa: RUF001 - a mark of Chinese
    "empty lines": "a\n\n",
    "quotation marks that nothing closes": "([{\"'“‘«. Ab cd. ",  # noqa: RUF001 - marks of other languages
    "one sentence of quotation marks": "([{\"'“‘«",  # noqa: RUF001
}
HUGE_BYTES: Final = 1 << 20

# Where the sentences of a text begin and end, in characters.
Spans = list[tuple[int, int]]
Splitter = Callable[[list[str]], list[Spans]]


@dataclass(frozen=True)
class GoldText:
    """A text, its kind and language, and its sentences."""

    kind: str
    language: str
    text: str
    sentences: tuple[str, ...]

    @property
    def spans(self) -> Spans:
        """Where the sentences are in the text."""
        spans, end = [], 0
        for sentence in self.sentences:
            start = self.text.index(sentence, end)
            end = start + len(sentence)
            spans.append((start, end))
        return spans


@dataclass(frozen=True)
class Errors:
    """The boundaries that are missing, those that are wrong, and the sentences that are right."""

    missed: int
    wrong: int
    right: int


@dataclass(frozen=True)
class Huge:
    """One text of 1 MiB: its sentences, whether it was rejected, and the seconds."""

    name: str
    sentences: int
    is_rejected: bool
    seconds: float


@dataclass(frozen=True)
class Row:
    """One library: its errors and its speed."""

    name: str
    errors: Errors
    megabytes_per_second: float


def main(argv: Sequence[str] | None = None) -> None:
    """Split all texts with each library, print the table, and write it as JSON where asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sentences", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="the fastest round is shown")
    parser.add_argument("--json", type=Path, help="write everything to this file")
    given = parser.parse_args(argv)
    header = machine.this_machine()
    texts = gold_texts()
    rows, absent = [], []
    for package, (name, splitter) in LIBRARIES.items():
        if reason := not_installed(package):
            absent.append(reason)
            continue
        label = f"{SPLITTER}, `split_texts`" if splitter is ours else f"{name} {version(package)}"
        rows.append(row_of(label, splitter, texts, given.rounds))
    huge = [huge_text(*each) for each in HUGE.items()]
    _show(header, texts, rows, absent)
    _show_huge(huge)
    if given.json:
        result = {"machine": asdict(header), "rows": [*map(asdict, rows)], "huge": [*map(asdict, huge)]}
        given.json.write_text(json.dumps(result, indent=1) + "\n")


def gold_texts() -> list[GoldText]:
    """The texts of `sentences.jsonl`."""
    lines = GOLD.read_text("utf-8").splitlines()
    return [GoldText(**{**row, "sentences": tuple(row["sentences"])}) for row in map(json.loads, lines)]


def errors_of(texts: Sequence[GoldText], split: Sequence[Spans]) -> Errors:
    """What a library got wrong."""
    missed = wrong = right = 0
    for gold, spans in zip(texts, split, strict=True):
        expected, actual = ({start for start, _ in each[1:]} for each in (gold.spans, spans))
        missed += len(expected - actual)
        wrong += len(actual - expected)
        right += len(set(gold.spans) & set(spans))
    return Errors(missed, wrong, right)


def row_of(name: str, splitter: Splitter, texts: Sequence[GoldText], rounds: int) -> Row:
    """The errors of a library, and the speed of its fastest round after one that is not timed."""
    plain = [gold.text for gold in texts]
    size = sum(len(text.encode()) for text in plain)
    errors = errors_of(texts, [trimmed(*each) for each in zip(plain, splitter(plain), strict=True)])
    seconds = []
    for _ in range(rounds):
        begun = time.perf_counter()
        splitter(plain)
        seconds.append(time.perf_counter() - begun)
    return Row(name, errors, size / min(seconds) / 1e6)


def huge_text(name: str, repeated: str) -> Huge:
    """Split one text of about 1 MiB once."""
    text = pa.array([repeated * (HUGE_BYTES // len(repeated.encode()))])
    begun = time.perf_counter()
    bounds = split_texts(text)
    return Huge(name, len(bounds.starts), bool(bounds.failed[0]), time.perf_counter() - begun)


def trimmed(text: str, spans: Spans) -> Spans:
    """The spans without whitespace at their edges; those of whitespace alone are left out."""
    stripped = []
    for start, end in spans:
        inner = text[start:end].strip()
        if inner:
            first = text.index(inner, start)
            stripped.append((first, first + len(inner)))
    return stripped


def ours(texts: list[str]) -> list[Spans]:
    """As the package splits, with Arrow's columns and checks."""
    bounds = split_texts(pa.array(texts, pa.string()))
    spans = list(zip(bounds.starts.tolist(), bounds.ends.tolist(), strict=True))
    return [spans[first:last] for first, last in zip(bounds.offsets[:-1], bounds.offsets[1:], strict=True)]


def _pysbd(texts: list[str]) -> list[Spans]:
    segmenter = importlib.import_module("pysbd").Segmenter(language="en", clean=False, char_span=True)
    return [[(span.start, span.end) for span in segmenter.segment(text)] for text in texts]


def _syntok(texts: list[str]) -> list[Spans]:
    segmenter = importlib.import_module("syntok.segmenter")
    return [
        [
            (sentence[0].offset, sentence[-1].offset + len(sentence[-1].value))
            for paragraph in segmenter.process(text)
            for sentence in paragraph
        ]
        for text in texts
    ]


def _blingfire(texts: list[str]) -> list[Spans]:
    split = importlib.import_module("blingfire").text_to_sentences_and_offsets
    # The library cannot split a text without sentences.
    return [list(split(text)[1]) if text.strip() else [] for text in texts]


# By the package that has to be there.
LIBRARIES: Final[dict[str, tuple[str, Splitter]]] = {
    "sentencex": ("sentencex", ours),
    "pysbd": ("pySBD", _pysbd),
    "syntok": ("syntok", _syntok),
    "blingfire": ("BlingFire", _blingfire),
}


def _show(header: machine.Machine, texts: Sequence[GoldText], rows: Sequence[Row], absent: Sequence[str]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"{header.processor}, load {header.load}, {header.date}")
    sentences = sum(len(gold.sentences) for gold in texts)
    boundaries = sum(max(len(gold.sentences) - 1, 0) for gold in texts)
    console.print(f"{len(texts)} texts, {sentences} sentences, {boundaries} boundaries; one core")
    table = Table("library", box=None, header_style="bold")
    for heading in ("missed", "wrong", "sentences right", "MB/s"):
        table.add_column(heading, justify="right")
    for row in rows:
        counts = (str(row.errors.missed), str(row.errors.wrong), f"{row.errors.right} of {sentences}")
        table.add_row(row.name, *counts, f"{row.megabytes_per_second:.2f}")
    console.print(table)
    for reason in absent:
        console.print(reason)


def _show_huge(texts: Sequence[Huge]) -> None:
    table = Table("1 MiB of", box=None, header_style="bold")
    for heading in ("sentences", "seconds"):
        table.add_column(heading, justify="right")
    for text in texts:
        table.add_row(text.name, "rejected" if text.is_rejected else f"{text.sentences:,}", f"{text.seconds:.2f}")
    Console(highlight=False, soft_wrap=True).print(table)


if __name__ == "__main__":
    main()
