"""`Labeler` labels pairs in this process, without Ray or files. The columns are those of the labelling job."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, get_args

import pyarrow as pa

from albert_infer.classify.classification import Classifier, Listener, default_batch_tokens, ignore_progress
from albert_infer.classify.rows import RowClassifier
from albert_infer.common import logs
from albert_infer.engine.cards import Card
from albert_infer.engine.processor import cpu_flags, resolved_precision
from albert_infer.errors import InputError, SettingsError
from albert_infer.model import checkpoint as model
from albert_infer.pipeline.progress import ProgressCounts, UnitProgress, shown
from albert_infer.preflight import label_probe
from albert_infer.prepare import arguments, intake, tokenization
from albert_infer.prepare.intake import CallerPairs
from albert_infer.prepare.parts import append_parts, unusable_hypothesis
from albert_infer.schema import (
    DEFAULT_TEMPLATE,
    DEFAULT_TOP_K,
    MIN_LENGTH,
    VERDICT_FIELDS,
    ComputedBatch,
    DeviceKind,
    Expansion,
    FoldRule,
    LongPremiseRule,
    PairColumns,
    Precision,
    same_name,
)

if TYPE_CHECKING:
    from albert_infer.read.given_hypotheses import Candidates

AUTO: Final = "auto"
# Pairs that are prepared at a time, as in a unit of a job: the tokens of a set are repeated for each row.
PAIRS_AT_A_TIME: Final = 1 << 14
LONG_PREMISES: Final = get_args(LongPremiseRule)


class Labeler:
    """A checkpoint that labels pairs with the steps of the labelling job: for notebooks, services and tests.

    `source` is a checkpoint, as for `--model`. Every other argument works as the flag with its name
    (`docs/reference/python-api.md`). The attributes `precision` and `device` have the choice made for `auto`.
    `added_columns` are the names of the columns that `label` adds. `topics` and `consistency` add others.

    Raises ModelError, and SettingsError for invalid arguments or arguments that exclude each other.

    >>> labeler = Labeler()
    >>> labeler.label([("A man plays the guitar.", "Someone makes music.")])["label"].to_pylist()
    ['entailment']
    """

    def __init__(
        self,
        source: str | os.PathLike[str] = "builtin",
        *,
        label_order: Sequence[str] = (),
        max_length: int | None = None,
        long_premise: LongPremiseRule = "truncate",
        precision: Precision | str = AUTO,
        device: DeviceKind | str = AUTO,
        max_batch_tokens: int | None = None,
        review_below: float | None = None,
    ) -> None:
        source = arguments.location("source", source)
        label_order = arguments.label_order("label_order", label_order)
        arguments.choice("long_premise", long_premise, LONG_PREMISES)
        arguments.choice("precision", precision, [AUTO, *Precision])
        arguments.choice("device", device, [AUTO, *DeviceKind])
        arguments.whole_number("max_length", max_length, least=MIN_LENGTH)
        arguments.whole_number("max_batch_tokens", max_batch_tokens, least=1)
        arguments.share("review_below", review_below)
        self.device = _device(device, precision)
        card = _card(self.device)
        self.precision = _precision(precision, self.device, card)
        self._source = source
        checkpoint = model.load_checkpoint(source, label_order=label_order)
        self._tokenizer = checkpoint.tokenizer(max_length=max_length, long_premise=long_premise)
        self._classifier = Classifier.load(
            checkpoint,
            precision=self.precision,
            device=self.device,
            max_batch_tokens=max_batch_tokens or default_batch_tokens(self.device, checkpoint.shape, card),
            review_below=review_below,
        )
        kernels = self._classifier.engine.kernels
        if kernels.remedy:
            logs.warn("slow_path", kernels.to_text())
        # The label order of the built-in checkpoint is known to be right.
        if source != "builtin" or label_order:
            probe = label_probe.run_probe(checkpoint, self._classifier)
            label_probe.refuse_wrong_order(checkpoint, probe, remedy='give label_order="{}"')
        # The job writes the verdict columns to `_rejected/`; here every row stays in the table.
        self._columns = PairColumns(
            review_below=review_below, with_windows=long_premise == "window", labels=checkpoint.labels
        )
        fields = [*self._columns.label_fields, *VERDICT_FIELDS]
        self.added_columns = tuple(field.name for field in fields)

    def __repr__(self) -> str:
        return f"Labeler({self._source!r}, precision={str(self.precision)!r}, device={str(self.device)!r})"

    def label(self, pairs: Iterable[tuple[str | None, str | None]] | Any, *, progress: bool = False) -> pa.Table:
        """Return `pairs` with the `added_columns` at the end: the job's label columns, then `rejection` and `detail`.

        `pairs` are (premise, hypothesis) tuples, or a table with columns of these names: from Arrow, pandas, Polars, a
        Hugging Face `Dataset`, or any library with Arrow's protocol. All rows and columns stay, in their order. A row
        without a label has a `rejection`. With `progress`, a line on stderr shows the progress. Raises InputError if
        `pairs` is neither.
        """

        def labelled(validated: pa.Table, on_batch: Listener) -> pa.Table:
            return self._classifier.classified(tokenization.append_tokens(validated, self._tokenizer), on_batch)

        return self._with_results(intake.caller_pairs(pairs), self.added_columns, labelled, progress=progress)

    def topics(
        self,
        texts: Iterable[str | None] | Any,
        candidates: Candidates,
        *,
        hypothesis_template: str = DEFAULT_TEMPLATE,
        multi_label: bool = False,
        top_k: int = DEFAULT_TOP_K,
        progress: bool = False,
    ) -> pa.Table:
        """Return `texts` with the candidates that fit each of them best: zero-shot classification.

        `texts` is a list, or a table with a column `premise`. `candidates` are names for the template, hypotheses by
        their ids, or a `HypothesisSet`. The columns at the end are those of a job with the rule `topics`, whose scores
        of a row sum to 1; with `multi_label` of the rule `topics_multi`, whose scores are independent. They are `best`
        (a name or an id), `score`, `top` and `top_scores` (the `top_k` best), `n_pairs`, `n_tokens`, `truncated`, then
        `rejection` and `detail`. All rows and columns stay. Raises InputError and SettingsError.
        """
        # Imported here, because the settings of a job take a quarter of a second to load.
        from albert_infer.read.given_hypotheses import given_set

        arguments.whole_number("top_k", top_k, least=1)
        hypotheses = given_set(candidates, hypothesis_template, least=1 if multi_label else 2)
        if (problem := unusable_hypothesis(hypotheses, self._tokenizer)) is not None:
            raise SettingsError("candidates", problem, "shorten it, or raise max_length")
        fold = FoldRule.TOPICS_MULTI if multi_label else FoldRule.TOPICS
        expansion = Expansion(fold, hypotheses=hypotheses, top_k=DEFAULT_TOP_K if top_k is None else int(top_k))
        rows = max(PAIRS_AT_A_TIME // len(hypotheses), 1)
        return self._folded(intake.caller_texts(texts), expansion, rows, progress=progress)

    def consistency(
        self, documents: Iterable[str | None] | Any, summaries: Any = None, *, progress: bool = False
    ) -> pa.Table:
        """Return documents and summaries with a score: how consistent each summary is with its document.

        `documents` and `summaries` are lists of equal length; or `documents` alone is what `label` accepts: a document
        is a premise, and a summary is a hypothesis. Each sentence of one makes a pair with each sentence of the other.
        The columns at the end are those of a job that splits both, with the rule `summac_zs`: `score` from -1 to 1,
        `premise_sentence` and `hypothesis_sentence` (the pair that speaks most against the summary), `n_pairs`,
        `n_tokens`, `truncated`, then `rejection` and `detail`. Raises InputError; and SettingsError with
        `review_below`.
        """
        if self._columns.review_below is not None:
            problem = "a score of consistency is no probability"
            raise SettingsError("consistency with review_below", problem, "give a Labeler without review_below")
        pairs = intake.caller_pairs(documents) if summaries is None else intake.caller_columns(documents, summaries)
        expansion = Expansion(FoldRule.SUMMAC_ZS, split_premise=True, split_hypothesis=True)
        return self._folded(pairs, expansion, PAIRS_AT_A_TIME, progress=progress)

    def _folded(self, from_caller: CallerPairs, expansion: Expansion, rows: int, *, progress: bool) -> pa.Table:
        """The rows of a caller with their results, prepared `rows` at a time."""
        columns = replace(self._columns, expansion=expansion)
        results = [name for name in columns.labelled.names if name not in columns.texts]
        rule = RowClassifier(self._classifier, expansion, self._tokenizer.frame)

        def labelled(validated: pa.Table, on_batch: Listener) -> pa.Table:
            parts = (validated.slice(first, rows) for first in range(0, max(validated.num_rows, 1), rows))
            prepared = (append_parts(part.combine_chunks(), self._tokenizer, expansion) for part in parts)
            return pa.concat_tables([rule.classified(each, on_batch) for each in prepared])

        added = [*results, *(field.name for field in VERDICT_FIELDS)]
        return self._with_results(from_caller, added, labelled, progress=progress)

    def _with_results(
        self,
        from_caller: CallerPairs,
        added: Sequence[str],
        labelled: Callable[[pa.Table, Listener], pa.Table],
        *,
        progress: bool,
    ) -> pa.Table:
        """The table of the caller with the columns `added` of `labelled`, at the end."""
        _refuse_doubled_columns(from_caller.table, added)
        validated = from_caller.validated()
        with self._shown(validated.num_rows, progress=progress) as on_batch:
            results = labelled(validated, on_batch)
        table = from_caller.readable(validated)
        for name in added:
            table = table.append_column(name, results[name])
        return table

    @contextmanager
    def _shown(self, rows: int, *, progress: bool) -> Iterator[Listener]:
        if not progress:
            yield ignore_progress
            return
        counts, so_far = ProgressCounts(), UnitProgress()

        def tell(batch: ComputedBatch) -> None:
            nonlocal so_far
            so_far = so_far.after(batch)
            counts.report_progress("pairs", so_far)

        with shown(rows, 0, counts.so_far, self.device):
            yield tell


def _device(device: DeviceKind | str, precision: Precision | str) -> DeviceKind:
    # Imported here, because the import of torch takes seconds.
    from albert_infer.engine.devices import requested_device

    return requested_device(str(device), str(precision), flag="device=cuda")


def _card(device: DeviceKind) -> Card | None:
    from albert_infer.engine.devices import card_of

    return card_of(device)


def _precision(precision: Precision | str, device: DeviceKind, card: Card | None) -> Precision:
    if precision == Precision.INT8 and device is DeviceKind.CUDA:
        raise SettingsError("precision=int8 with device=cuda", "int8 is for CPUs", "leave one of them out")
    if precision in (Precision.FP16, Precision.FP8) and device is DeviceKind.CPU:
        raise SettingsError(
            f"precision={precision}", f"{precision} is for GPUs", "leave it out, or give precision=fp32"
        )
    return resolved_precision(str(precision), device, cpu_flags(), card)


def _refuse_doubled_columns(pairs: pa.Table, added: Sequence[str]) -> None:
    taken = [name for name in pairs.column_names if same_name([name], added)]
    if taken:
        raise InputError("pairs without labels", f"columns {', '.join(taken)} are there", "rename or drop them")
