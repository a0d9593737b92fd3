"""Pairs for a person to review, out of a published run; and the answers as a gold set."""

from __future__ import annotations

import heapq
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from albert_infer import storage
from albert_infer.common.printable import PrintableText, how_many, text_of
from albert_infer.config import ReviewSettings
from albert_infer.errors import InputError, LimitError
from albert_infer.operations import review_files, review_scores
from albert_infer.operations.review_files import ANSWER, NO_AGREEMENT, ReviewPair, label_studio_interface
from albert_infer.operations.review_places import put_new, read_file, split_place
from albert_infer.operations.review_scores import ScoredRow
from albert_infer.output.distribution import MAX_FILES, MAX_ROWS, drawn_files, read_columns
from albert_infer.output.manifest import Manifest, published_at
from albert_infer.output.reading import columns_of_run
from albert_infer.schema import (
    HYPOTHESIS,
    HYPOTHESIS_ID,
    LABEL,
    NEEDS_REVIEW,
    PAIR_ID,
    PREMISE,
    Expansion,
    probability_columns,
)
from albert_infer.storage import Folder, S3Access

GOLD_FILE: Final = "gold.parquet"
INTERFACE: Final = "label-studio.xml"

Row = TypeVar("Row")


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
    run_columns = columns_of_run(output, published)
    expansion = run_columns.expansion if run_columns is not None else None
    select = settings.select or ("needs_review" if manifest.needs_review else "least_certain")
    if expansion is not None and expansion.publishes_scores and not expansion.fold.chooses_pair:
        return _exported_scores(settings, access, output, manifest, expansion, select)
    pairs = SELECTIONS[select](_candidates(manifest, output, expansion), settings.rows)
    if not pairs:
        raise _none_selected(output, select)
    folder, name = split_place(settings.file, access)
    put_new(folder, name, review_files.written(pairs, name), "--file")
    labels = ", ".join(f"{label} {rows:,}" for label, rows in sorted(Counter(pair.label for pair in pairs).items()))
    lines = [f"written      {how_many(len(pairs), 'pair')} in {folder.uri_of(name)}", f"labels       {labels}"]
    if name.endswith(".json"):
        interface = label_studio_interface(manifest.label_set)
        folder.replace(INTERFACE, interface.encode(), folder.stat(INTERFACE))
        lines.append(f"interface    {folder.uri_of(INTERFACE)}: paste it into the project's labelling interface")
    else:
        lines.append(f"next         fill in the column {ANSWER}")
    return text_of(lines)


def _exported_scores(
    settings: ReviewSettings, access: S3Access, output: Folder, manifest: Manifest, expansion: Expansion, select: str
) -> PrintableText:
    """Write rows with a score for a review: those with the lowest scores, the marked ones, or some of each topic."""
    if select == "stratified" and not expansion.fold.ranks_hypotheses:
        problem = f"the rows of a run with the rule {expansion.fold} have no labels"
        raise InputError(f"--select stratified with {output.uri}", problem, "give --select least_certain")
    chosen = _selected_scores(review_scores.candidates(manifest, output), select, settings.rows)
    if not chosen:
        raise _none_selected(output, select)
    folder, name = split_place(settings.file, access)
    put_new(folder, name, review_scores.written(chosen, name, expansion), "--file")
    lines = [f"written      {how_many(len(chosen), 'row')} in {folder.uri_of(name)}"]
    lines.append(f"scores       {min(row.score for row in chosen):.3f} to {max(row.score for row in chosen):.3f}")
    if name.endswith(".json"):
        folder.replace(INTERFACE, review_scores.interface_of(expansion).encode(), folder.stat(INTERFACE))
        lines.append(f"interface    {folder.uri_of(INTERFACE)}: paste it into the project's labelling interface")
    else:
        choices = review_scores.choices_of(expansion)
        lines.append(
            f"next         fill in the column {ANSWER}: {', '.join(choices[:10])}{', …' if len(choices) > 10 else ''}"
        )
    return text_of(lines)


def _selected_scores(rows: Iterator[review_scores.Candidate], select: str, most: int) -> list[ScoredRow]:
    if select == "needs_review":
        return _sampled((each.row for each in rows if each.needs_review), most)
    if select == "least_certain":
        return heapq.nsmallest(most, (each.row for each in rows), key=lambda row: row.score)
    return _of_each((each.row for each in rows), most, lambda row: str(row.best))


def _none_selected(output: Folder, select: str) -> LimitError:
    if select != "needs_review":
        remedy = "recount the run with albert-infer verify"
        return LimitError(f"--run {output.uri}", "it has no labelled row", remedy)
    remedy = "label with --review-below, or give --select least_certain"
    return LimitError(f"rows of {output.uri} for --select {select}", "there are none", remedy)


def _imported_scores(rows: list[ScoredRow], settings: ReviewSettings, access: S3Access) -> PrintableText:
    gold = review_scores.gold_set(rows)
    if not gold.num_rows:
        raise _no_answer(settings)
    folder = storage.open_folder(str(settings.gold_output), access)
    put_new(folder, GOLD_FILE, _parquet(gold), "--gold-output")
    lines = [f"written      {how_many(gold.num_rows, 'row')} in {folder.uri_of(GOLD_FILE)}"]
    agreed = [row for row in rows if row.best is not None and row.gold_label not in (None, NO_AGREEMENT)]
    if agreed:
        same = sum(row.best == row.gold_label for row in agreed)
        lines.append(f"right        {same:,} of {how_many(len(agreed), 'best topic')} of the run, by the answers")
    if left := len(rows) - gold.num_rows:
        lines.append(f"without      {how_many(left, 'row')} without an answer, left out")
    lines.append(
        f"next         label the gold set with --carry {ANSWER} and the settings of the run, and evaluate that run"
    )
    return text_of(lines)


def _no_answer(settings: ReviewSettings) -> InputError:
    return InputError(f"--file {settings.file}", "it has no answer", f"fill in {ANSWER}, or export with annotations")


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return bytes(sink.getvalue())


def _imported(settings: ReviewSettings, access: S3Access) -> PrintableText:
    folder, name = split_place(settings.file, access)
    data = read_file(folder, name)
    if (scored := review_scores.read(data, name)) is not None:
        return _imported_scores(scored, settings, access)
    pairs = review_files.read(data, name)
    answered = [pair for pair in pairs if pair.answer is not None]
    if not answered:
        raise _no_answer(settings)
    columns = {
        PAIR_ID: [pair.pair_id for pair in answered],
        PREMISE: [pair.premise for pair in answered],
        HYPOTHESIS: [pair.hypothesis for pair in answered],
        ANSWER: [pair.answer for pair in answered],
    }
    table = pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})
    gold = storage.open_folder(str(settings.gold_output), access)
    put_new(gold, GOLD_FILE, _parquet(table), "--gold-output")
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


def _candidates(manifest: Manifest, output: Folder, expansion: Expansion | None = None) -> Iterator[_Candidate]:
    """The labelled rows of the run, or of files drawn from it, the same ones each time."""
    hypotheses = expansion.hypotheses if expansion is not None else None
    # A row with the label of one of its pairs has the id of a hypothesis, not its text.
    by_id = dict(zip(hypotheses.ids, hypotheses.texts, strict=True)) if hypotheses is not None else {}
    probabilities = probability_columns(manifest.label_set)
    columns = (PAIR_ID, PREMISE, HYPOTHESIS, HYPOTHESIS_ID, LABEL, *probabilities, NEEDS_REVIEW)
    for entry in drawn_files(manifest.files, max_rows=MAX_ROWS, max_files=MAX_FILES):
        for batch in read_columns(entry.path, output, columns):
            for row in batch.to_pylist():
                known = row.get(PAIR_ID)
                pair = ReviewPair(
                    pair_id=None if known is None else str(known),
                    premise=row[PREMISE],
                    hypothesis=row[HYPOTHESIS] if HYPOTHESIS in row else by_id[row[HYPOTHESIS_ID]],
                    label=row[LABEL],
                    probability=max(row[name] for name in probabilities),
                )
                yield _Candidate(pair, bool(row.get(NEEDS_REVIEW)))


def _marked(candidates: Iterator[_Candidate], rows: int) -> list[ReviewPair]:
    return _sampled((each.pair for each in candidates if each.needs_review), rows)


def _least_certain(candidates: Iterator[_Candidate], rows: int) -> list[ReviewPair]:
    return heapq.nsmallest(rows, (each.pair for each in candidates), key=lambda pair: pair.probability)


def _stratified(candidates: Iterator[_Candidate], rows: int) -> list[ReviewPair]:
    """As many of each label, at random."""
    return _of_each((each.pair for each in candidates), rows, lambda pair: pair.label)


def _of_each(every: Iterator[Row], rows: int, label_of: Callable[[Row], str]) -> list[Row]:
    by_label: dict[str, list[Row]] = defaultdict(list)
    for each in every:
        by_label[label_of(each)].append(each)
    share, more = divmod(rows, max(len(by_label), 1))
    chosen = [
        _sampled(iter(of_label), share + (number < more))
        for number, (_, of_label) in enumerate(sorted(by_label.items()))
    ]
    return [each for of_label in chosen for each in of_label]


def _sampled(every: Iterator[Row], rows: int) -> list[Row]:
    """`rows` of them, each as likely as any other, the same ones each time (Vitter 1985, algorithm R)."""
    chance = random.Random(0)  # noqa: S311  (a sample, not a secret)
    drawn: list[Row] = []
    for number, each in enumerate(every):
        if len(drawn) < rows:
            drawn.append(each)
        elif (index := chance.randrange(number + 1)) < rows:
            drawn[index] = each
    return drawn


SELECTIONS: Final[dict[str, Callable[[Iterator[_Candidate], int], list[ReviewPair]]]] = {
    "needs_review": _marked,
    "least_certain": _least_certain,
    "stratified": _stratified,
}
