"""Pairs for a person to review, out of a published run; and the answers as a gold set."""

from __future__ import annotations

import heapq
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from albert_infer import storage
from albert_infer.common.printable import PrintableText, how_many, text_of
from albert_infer.config import ReviewSettings
from albert_infer.errors import InputError, LimitError, ObjectMissingError, OutputError
from albert_infer.operations import review_files
from albert_infer.operations.review_files import ANSWER, LABEL_STUDIO_INTERFACE, NO_AGREEMENT, ReviewPair
from albert_infer.output.distribution import MAX_FILES, MAX_ROWS, drawn_files, read_columns
from albert_infer.output.manifest import Manifest, published_at
from albert_infer.schema import HYPOTHESIS, LABEL, NEEDS_REVIEW, PAIR_ID, PREMISE, PROBABILITIES
from albert_infer.storage import Folder, S3Access

GOLD_FILE: Final = "gold.parquet"
INTERFACE: Final = "label-studio.xml"


@dataclass(frozen=True)
class _Candidate:
    """A pair that may be reviewed. `needs_review` is False in a run that does not mark pairs."""

    pair: ReviewPair
    needs_review: bool


def review(settings: ReviewSettings) -> PrintableText:
    """Write pairs for a review, or make a gold set of its answers; what was done, as text. Raises AlbertInferError."""
    access = S3Access(settings.s3_endpoint)
    return _exported(settings, access) if settings.run is not None else _imported(settings, access)


def _exported(settings: ReviewSettings, access: S3Access) -> PrintableText:
    output = storage.open_folder(str(settings.run), access)
    with storage.refused(InputError):
        published = published_at(output)
    if published is None:
        raise InputError(f"--run {output.uri}", "nothing is published there", "give the output of a finished run")
    manifest = published.manifest
    select = settings.select or ("needs_review" if manifest.needs_review else "least_certain")
    pairs = SELECTIONS[select](_candidates(manifest, output), settings.rows)
    if not pairs:
        remedy = "label with --review-below, or give --select least_certain"
        raise LimitError(f"pairs of {output.uri} for --select {select}", "there are none", remedy)
    folder, name = _split(settings.file, access)
    _put_new(folder, name, review_files.written(pairs, name), "--file")
    labels = ", ".join(f"{label} {rows:,}" for label, rows in sorted(Counter(pair.label for pair in pairs).items()))
    lines = [f"written      {how_many(len(pairs), 'pair')} in {folder.uri_of(name)}", f"labels       {labels}"]
    if name.endswith(".json"):
        folder.replace(INTERFACE, LABEL_STUDIO_INTERFACE.encode(), folder.stat(INTERFACE))
        lines.append(f"interface    {folder.uri_of(INTERFACE)}: paste it into the project's labelling interface")
    else:
        lines.append(f"next         fill in the column {ANSWER}")
    return text_of(lines)


def _imported(settings: ReviewSettings, access: S3Access) -> PrintableText:
    folder, name = _split(settings.file, access)
    data = _read(folder, name)
    pairs = review_files.read(data, name)
    answered = [pair for pair in pairs if pair.answer is not None]
    if not answered:
        raise InputError(f"--file {settings.file}", "it has no answer", f"fill in {ANSWER}, or export with annotations")
    columns = {
        PAIR_ID: [pair.pair_id for pair in answered],
        PREMISE: [pair.premise for pair in answered],
        HYPOTHESIS: [pair.hypothesis for pair in answered],
        ANSWER: [pair.answer for pair in answered],
    }
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()}), sink)
    gold = storage.open_folder(str(settings.gold_output), access)
    _put_new(gold, GOLD_FILE, sink.getvalue().to_pybytes(), "--gold-output")
    agreed = [pair for pair in answered if pair.answer != NO_AGREEMENT]
    same = sum(pair.answer == pair.label for pair in agreed)
    left = len(pairs) - len(answered)
    return text_of(
        [
            f"written      {how_many(len(answered), 'pair')} in {gold.uri_of(GOLD_FILE)}",
            f"right        {same:,} of {how_many(len(agreed), 'label')} of the run, by the answers",
            *([f"without      {how_many(left, 'pair')} without an answer, left out"] if left else []),
        ]
    )


def _candidates(manifest: Manifest, output: Folder) -> Iterator[_Candidate]:
    """The labelled rows of the run, or of files drawn from it, the same ones each time."""
    columns = (PAIR_ID, PREMISE, HYPOTHESIS, LABEL, *PROBABILITIES, NEEDS_REVIEW)
    for entry in drawn_files(manifest.files, max_rows=MAX_ROWS, max_files=MAX_FILES):
        for batch in read_columns(entry.path, output, columns):
            for row in batch.to_pylist():
                known = row.get(PAIR_ID)
                pair = ReviewPair(
                    pair_id=None if known is None else str(known),
                    premise=row[PREMISE],
                    hypothesis=row[HYPOTHESIS],
                    label=row[LABEL],
                    probability=max(row[name] for name in PROBABILITIES),
                )
                yield _Candidate(pair, bool(row.get(NEEDS_REVIEW)))


def _marked(candidates: Iterator[_Candidate], rows: int) -> list[ReviewPair]:
    return _sampled((each.pair for each in candidates if each.needs_review), rows)


def _least_certain(candidates: Iterator[_Candidate], rows: int) -> list[ReviewPair]:
    return heapq.nsmallest(rows, (each.pair for each in candidates), key=lambda pair: pair.probability)


def _stratified(candidates: Iterator[_Candidate], rows: int) -> list[ReviewPair]:
    """As many of each label, at random."""
    by_label: dict[str, list[ReviewPair]] = defaultdict(list)
    for each in candidates:
        by_label[each.pair.label].append(each.pair)
    share, more = divmod(rows, max(len(by_label), 1))
    chosen = [
        _sampled(iter(pairs), share + (number < more)) for number, (_, pairs) in enumerate(sorted(by_label.items()))
    ]
    return [pair for pairs in chosen for pair in pairs]


def _sampled(pairs: Iterator[ReviewPair], rows: int) -> list[ReviewPair]:
    """`rows` of the pairs, each as likely as any other, the same ones each time (Vitter 1985, algorithm R)."""
    chance = random.Random(0)  # noqa: S311  (a sample, not a secret)
    drawn: list[ReviewPair] = []
    for number, pair in enumerate(pairs):
        if len(drawn) < rows:
            drawn.append(pair)
        elif (index := chance.randrange(number + 1)) < rows:
            drawn[index] = pair
    return drawn


SELECTIONS: Final[dict[str, Callable[[Iterator[_Candidate], int], list[ReviewPair]]]] = {
    "needs_review": _marked,
    "least_certain": _least_certain,
    "stratified": _stratified,
}


def _split(file: str, access: S3Access) -> tuple[Folder, str]:
    """The folder of a file, and its name there."""
    folder, _, name = file.rpartition("/")
    return storage.open_folder(folder or ("/" if file.startswith("/") else "."), access), name


def _read(folder: Folder, name: str) -> bytes:
    with storage.refused(InputError):
        try:
            return folder.read(name)
        except ObjectMissingError as error:
            raise InputError(f"--file {folder.uri_of(name)}", "there is no such file", "correct the name") from error


def _put_new(folder: Folder, name: str, data: bytes, flag: str) -> None:
    """Write an object that is not there yet. Raises OutputError if it is."""
    if not folder.put_if_absent(name, data) and folder.read(name) != data:
        raise OutputError(f"{flag} {folder.uri_of(name)}", "there is another file of this name", "give another name")
