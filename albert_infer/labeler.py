"""`Labeler`, the way in without Ray or files: pairs in, the labelling job's own columns out, in this process."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import pyarrow as pa

from albert_infer import column_types, model, tokenization, validation
from albert_infer.classification import Classifier, default_batch_tokens
from albert_infer.errors import InputError, SettingsError
from albert_infer.schema import HYPOTHESIS, PREMISE, VERDICT_FIELDS, DeviceKind, PairColumns, Precision, is_text


class Labeler:
    """A checkpoint that labels pairs by the steps of the labelling job: for notebooks, services and tests.

    `source` is a checkpoint as for `--model`, and every other argument as the flag of its name. `added_columns` names
    what it adds to the pairs. Raises ModelError, and SettingsError for arguments that are none or do not go together.

    >>> labeler = Labeler()
    >>> labeler.label([("A man plays the guitar.", "Someone makes music.")])["label"].to_pylist()
    ['entailment']
    """

    def __init__(
        self,
        source: str = "builtin",
        *,
        label_order: Sequence[str] = (),
        max_length: int | None = None,
        truncation: Literal["premise", "longest_first"] = "premise",
        long_premise: Literal["truncate", "window"] = "truncate",
        precision: Precision | str = Precision.FP32,
        device: DeviceKind | str = DeviceKind.CPU,
        max_batch_tokens: int | None = None,
        review_below: float | None = None,
    ) -> None:
        if review_below is not None and not 0 <= review_below <= 1:
            raise SettingsError(f"review_below={review_below}", "it is no probability", "give a number from 0 to 1")
        if long_premise == "window" and truncation != "premise":
            found, remedy = f"truncation={truncation} cuts the hypothesis", "leave truncation out"
            raise SettingsError("long_premise=window", found, remedy)
        checkpoint, device = model.load_checkpoint(source, label_order=label_order), DeviceKind(device)
        self._tokenizer = checkpoint.tokenizer(max_length=max_length, truncation=truncation, long_premise=long_premise)
        self._classifier = Classifier.load(
            checkpoint,
            precision=Precision(precision),
            device=device,
            max_batch_tokens=max_batch_tokens or default_batch_tokens(device, checkpoint.shape),
            review_below=review_below,
        )
        # The job's, and what it writes to `_rejected/`: here every row stays.
        columns = PairColumns(review_below=review_below, with_windows=long_premise == "window")
        fields = [*columns.label_fields, *VERDICT_FIELDS]
        self.added_columns = tuple(field.name for field in fields)

    def label(self, pairs: Iterable[tuple[str | None, str | None]] | Any) -> pa.Table:
        """`pairs` with the `added_columns` after theirs: labels as the job's, then `rejection` and `detail`.

        Pairs are (premise, hypothesis), or a table with columns of these names: Arrow's, pandas's, or any other that
        speaks Arrow's protocol. Every row and column is kept, in order; a row without a label has its `rejection`.
        Raises InputError for what are no pairs.
        """
        given = pa.table(pairs) if hasattr(pairs, "__arrow_c_stream__") else _as_table(pairs)
        texts = pa.table({name: _texts(given, name) for name in (PREMISE, HYPOTHESIS)})
        _refuse_doubled_columns(given, self.added_columns)
        judged = validation.mark_rejected(texts)
        labelled = self._classifier.classified(tokenization.append_tokens(judged, self._tokenizer))
        for name in self.added_columns:
            given = given.append_column(name, labelled[name])
        return given


def _as_table(pairs: Iterable[Any]) -> pa.Table:
    columns: tuple[list[str | None], list[str | None]] = ([], [])
    for place, pair in enumerate(pairs):
        # A text of two letters would unfold into a pair, too.
        if isinstance(pair, str) or not isinstance(pair, Sequence) or len(pair) != len(columns):
            found, remedy = f"item {place} is {pair!r:.200}", "give (premise, hypothesis) tuples, or a table"
            raise InputError("pairs of a premise and a hypothesis", found, remedy)
        for column, text in zip(columns, pair, strict=True):
            if not (text is None or isinstance(text, str)):
                found = f"item {place} has {text!r:.200}, of type {type(text).__name__}"
                raise InputError("pairs of texts", found, "give each as str, or None where there is none")
            column.append(text)
    return pa.table(dict(zip((PREMISE, HYPOTHESIS), (pa.array(each, pa.string()) for each in columns), strict=True)))


def _texts(pairs: pa.Table, name: str) -> pa.ChunkedArray:
    """The column `name` as strings."""
    if pairs.column_names.count(name) != 1:
        found = f"{pairs.column_names.count(name)} among {', '.join(pairs.column_names)}"
        raise InputError(f"one column {name}", found, "rename the columns of the pairs")
    kind = pairs.schema.field(name).type
    if not (is_text(kind) or pa.types.is_null(kind)):
        raise InputError(f"texts in column {name}", f"found {kind}", "cast it to strings")
    return pa.chunked_array([column_types.converted(chunk, pa.string()) for chunk in pairs[name].chunks], pa.string())


def _refuse_doubled_columns(pairs: pa.Table, added: Sequence[str]) -> None:
    taken = [name for name in added if name in pairs.column_names]
    if taken:
        raise InputError("pairs without labels", f"columns {', '.join(taken)} are there", "rename or drop them")
