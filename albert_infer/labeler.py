"""`Labeler` labels pairs in this process, without Ray or files. The columns are those of the labelling job."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any, Final, get_args

import pyarrow as pa

from albert_infer.classify.classification import Classifier, default_batch_tokens, ignore_progress
from albert_infer.common import logs
from albert_infer.engine.cards import Card
from albert_infer.engine.processor import cpu_flags, resolved_precision
from albert_infer.errors import InputError, SettingsError
from albert_infer.model import checkpoint as model
from albert_infer.pipeline.progress import ProgressCounts, UnitProgress, shown
from albert_infer.preflight import label_probe
from albert_infer.prepare import arguments, intake, tokenization
from albert_infer.schema import (
    MIN_LENGTH,
    VERDICT_FIELDS,
    ComputedBatch,
    DeviceKind,
    LongPremiseRule,
    PairColumns,
    Precision,
    same_name,
)

AUTO: Final = "auto"
LONG_PREMISES: Final = get_args(LongPremiseRule)


class Labeler:
    """A checkpoint that labels pairs with the steps of the labelling job: for notebooks, services and tests.

    `source` is a checkpoint, as for `--model`. Every other argument works as the flag with its name
    (`docs/reference/python-api.md`). The attributes `precision` and `device` have the choice made for `auto`.
    `added_columns` are the names of the columns that `label` adds.

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
        columns = PairColumns(review_below=review_below, with_windows=long_premise == "window")
        fields = [*columns.label_fields, *VERDICT_FIELDS]
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
        from_caller = intake.caller_pairs(pairs)
        _refuse_doubled_columns(from_caller.table, self.added_columns)
        validated = from_caller.validated()
        labelled = self._labelled(tokenization.append_tokens(validated, self._tokenizer), progress=progress)
        table = from_caller.readable(validated)
        for name in self.added_columns:
            table = table.append_column(name, labelled[name])
        return table

    def _labelled(self, prepared: pa.Table, *, progress: bool) -> pa.Table:
        if not progress:
            return self._classifier.classified(prepared, ignore_progress)
        counts, so_far = ProgressCounts(), UnitProgress()

        def tell(batch: ComputedBatch) -> None:
            nonlocal so_far
            so_far = so_far.after(batch)
            counts.report_progress("pairs", so_far)

        with shown(prepared.num_rows, 0, counts.so_far, self.device):
            return self._classifier.classified(prepared, tell)


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
