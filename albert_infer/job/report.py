"""The report of a run: `report.json`, and a short text.

Counts come from the manifest, so from committed objects. Speeds are those of this start.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import astuple, dataclass, field
from functools import partial
from typing import Final

from albert_infer.common.printable import PrintableText, how_many, text_of
from albert_infer.common.tables import fact_lines
from albert_infer.common.versions import installed_versions
from albert_infer.engine.cards import Card
from albert_infer.engine.kernel_use import KernelUse, slow_line
from albert_infer.job.drift import Drift
from albert_infer.job.estimate.expected import Estimate
from albert_infer.job.expanded import ReportedExpansion, json_of
from albert_infer.job.pace import Pace, PacePoint
from albert_infer.job.quarantine import QuarantineCounts, counts_text, quarantine_counts
from albert_infer.model.checkpoint import Checkpoint
from albert_infer.output import layout, sealing
from albert_infer.output.distribution import Distribution
from albert_infer.output.manifest import Manifest
from albert_infer.pipeline.progress import RunProgress
from albert_infer.pipeline.resources import WorkerResources
from albert_infer.preflight.checks import Preflight
from albert_infer.read.planning import Plan
from albert_infer.read.survey import Survey
from albert_infer.schema import TWO_LABELS, ExecutorKind, LabelSet, ModelRecipe
from albert_infer.storage.input_names import left_out_text

# The folder of Ray's logs on each machine, if RAY_TMPDIR is not set.
RAY_LOGS: Final = "/tmp/ray/session_latest/logs"  # noqa: S108  (nothing is written there)


@dataclass
class Seconds:
    """The durations of the steps of a start. `startup` ends when the first pair is labelled, and excludes planning."""

    startup: float = 0.0
    planning: float = 0.0
    labelling: float = 0.0
    publishing: float = 0.0


class ReportedModel(ModelRecipe):
    """The checkpoint of a run: the parts that decide labels, its source, and the label order that it names itself."""

    source: str
    # One sha256 of all files.
    digest: str
    own_label_map: LabelSet | None


@dataclass
class Report:
    """The report of one start of a run. Filled during the run, so it can be written at any time."""

    plan_id: str | None = None
    exit_code: int = 0
    # The line that says why, for a start that failed.
    error: str = ""
    rows: int = 0
    labelled: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    quarantined: QuarantineCounts = field(default_factory=lambda: QuarantineCounts())
    labels: dict[str, int] = field(default_factory=dict)
    # How each row becomes several pairs, and the pairs of the labelled rows; None if each row is one pair.
    expansion: ReportedExpansion | None = None
    pairs: int | None = None
    tokens: int = 0
    truncated: int = 0
    # Labelled rows without an id, and labelled rows with the id of an earlier row of their unit.
    null_ids: int = 0
    duplicate_ids: int = 0
    # Labelled rows whose largest probability is below `review_below`. None if the run has no such limit.
    review_below: float | None = None
    needs_review: int = 0
    # Labelled rows in more than one window.
    windowed: int = 0
    padding_share: float = 0.0
    seconds: Seconds = field(default_factory=Seconds)
    # None where nothing had to be labelled.
    estimate: Estimate | None = None
    # With an expansion, the pairs of a row are those of the mean row of the run.
    pairs_per_second: float = 0.0
    rows_per_second: float | None = None
    tokens_per_second: float = 0.0
    # The progress of this start over time.
    pace: tuple[PacePoint, ...] = ()
    # None if nothing is published, or if the labels cannot be read.
    distribution: Distribution | None = None
    # None if there is no earlier run to compare with.
    drift: Drift | None = None
    # Share of the workers' time, from their first unit to their last, in which their devices compute.
    device_busy_share: float = 0.0
    # Micro-batches that did not fit into the device's memory, so they ran in parts. This may change the last bits of
    # their probabilities.
    out_of_memory: int = 0
    units: dict[str, int] = field(default_factory=lambda: {"done_before": 0, "labelled": 0})
    # `ray`, or `process`: the job's own, for a small run.
    executor: ExecutorKind = ExecutorKind.RAY
    workers: WorkerResources | None = None
    # The card of the worker that was asked before the plan; None on CPUs, and where an earlier start published.
    card: Card | None = None
    device: str = ""
    # Of each machine that labelled in this start; None where nothing had to be labelled.
    kernels: tuple[KernelUse, ...] | None = None
    precision: str = ""
    max_batch_tokens: int = 0
    model: ReportedModel | None = None
    # None if there was nothing to label.
    preflight: Preflight | None = None
    ignored: dict[str, str] = field(default_factory=dict)
    # The published plan that this start replaces.
    replaced_plan: str | None = None
    # URIs of files that arrived during the run. The next run labels them.
    late_inputs: tuple[str, ...] = ()
    # The number of staged copies and replaced files that could not be deleted, and the reason. They are harmless.
    leftovers: int = 0
    leftovers_reason: str = ""
    versions: dict[str, str] = field(default_factory=installed_versions)

    @classmethod
    def of_plan(
        cls, plan: Plan, survey: Survey, checkpoint: Checkpoint, workers: WorkerResources, card: Card | None = None
    ) -> Report:
        """A report with the facts that are known before labelling."""
        return cls(
            plan_id=plan.plan_id,
            rows=plan.rows_in,
            quarantined=quarantine_counts(sealing.quarantined_of(plan)),
            ignored=survey.ignored,
            model={
                "source": checkpoint.source,
                "digest": checkpoint.digest,
                "temperature": checkpoint.temperature,
                "own_label_map": checkpoint.named_order,
                **plan.recipe["model"],
            },
            workers=workers,
            card=card,
            device=str(workers.device),
            precision=plan.recipe["precision"],
            max_batch_tokens=plan.max_batch_tokens,
            review_below=survey.columns.review_below,
            expansion=ReportedExpansion.of_plan(plan),
        )

    def count(self, manifest: Manifest) -> None:
        """Copy the counts of a sealed run."""
        self.rows = manifest.rows_in
        self.labelled, self.rejected, self.labels = manifest.labelled, manifest.rejected, manifest.labels
        self.tokens, self.truncated, self.windowed = manifest.tokens, manifest.truncated, manifest.windowed
        self.null_ids, self.duplicate_ids = manifest.null_ids, manifest.duplicate_ids
        self.needs_review = manifest.needs_review
        self.quarantined = quarantine_counts(manifest.quarantined)
        if self.expansion is not None:
            self.pairs = manifest.pairs
            self.pairs_per_second = (self.rows_per_second or 0.0) * manifest.pairs / max(manifest.labelled, 1)

    def count_labelling(self, progress: RunProgress, pace: Pace, *, started_at: float) -> None:
        """Compute the speeds of a start that has just labelled. `started_at` is on the monotonic clock."""
        ended_at = time.time()
        pace.note(progress, last=True)
        self.pace = pace.points
        self.seconds.labelling = max(ended_at - (progress.first_reported or ended_at), 1e-3)
        self.seconds.startup = time.monotonic() - started_at - self.seconds.planning - self.seconds.labelling
        self.device = ", ".join(sorted(progress.devices))
        self.kernels = tuple(sorted(progress.kernels, key=astuple))
        self.out_of_memory = progress.done.halved
        self.padding_share = progress.padding_share
        rows_per_second = progress.done.rows / self.seconds.labelling
        if self.expansion is None:
            self.pairs_per_second = rows_per_second
        else:
            self.rows_per_second = rows_per_second
        self.tokens_per_second = progress.done.tokens / self.seconds.labelling
        self.device_busy_share = progress.device_busy_share

    @property
    def unit(self) -> str:
        """What the counts of the run count, for `how_many`."""
        return "pair" if self.expansion is None else "row"

    def to_json(self) -> bytes:
        """The bytes of `report.json`."""
        return json.dumps(json_of(self), indent=1).encode()

    def facts(self) -> Mapping[str, object]:
        """The facts of a published run for a scheduler, as sums. `report.json` has the details."""
        return {
            "plan_id": self.plan_id,
            "rows": self.rows,
            "labelled": self.labelled,
            **({"pairs": self.pairs} if self.expansion is not None else {}),
            "rejected": sum(self.rejected.values()),
            "quarantined": self.quarantined.units + self.quarantined.files,
            "units_labelled": self.units["labelled"],
            "pairs_per_second": round(self.pairs_per_second, 1),
        }

    def to_text(self, output_uri: str, *, width: int | None = None) -> PrintableText:
        """Lines for a person, with the result first. With a `width`, longer lines wrap."""
        facts = {
            **self._result_lines(output_uri.rstrip("/")),
            **self._cost_lines(),
            **(self._model_lines(self.model) if self.model is not None else {}),
            **(self.preflight.lines() if self.preflight is not None else {}),
            **slow_line(self.kernels or ()),
            **({"drift": self.drift.to_text()} if self.drift is not None else {}),
        }
        return text_of(fact_lines(facts, width=width))

    def _result_lines(self, output: str) -> dict[str, str]:
        """The result: the counts of the rows, and the locations of the outputs."""
        pairs = partial(how_many, what=self.unit)
        idle = "" if self.units["labelled"] else ": nothing to do"
        already = "" if self.seconds.publishing else f"; published by an earlier start{idle}"
        value = "probability of their label" if self.expansion is None else "probability or score of their result"
        noun = "pair" if self.expansion is not None and self.expansion.publish == "pairs" else self.unit
        marked = f"{how_many(self.needs_review, noun)} marked needs_review: the {value} is below"
        long = pairs if self.expansion is None else partial(how_many, what="row with a pair", plural="rows with a pair")
        together = "" if self.pairs is None else f", {how_many(self.pairs, 'pair')}"
        where = f"; rows and reasons are in {output}/{layout.REJECTED}" if self.rejected else ""
        lines = {
            "published": f"{self.labelled:,} of {pairs(self.rows)} labelled{together}, in {output}/{already}",
            **(self.expansion.lines(output, self.labels) if self.expansion is not None else {}),
            **({"labels": counts_text(self.labels)} if self.expansion is None else {}),
            **({"review": f"{marked} {self.review_below}"} if self.review_below is not None else {}),
            "rejected": f"{counts_text(self.rejected)}{where}",
            "quarantined": self.quarantined.to_text(),
        }
        if self.ignored:
            lines["left out"] = f"of the input folder: {left_out_text(self.ignored)}"
        if self.late_inputs:
            files = how_many(len(self.late_inputs), "file")
            lines["late"] = f"{files} not labelled: added after the input was listed; first {self.late_inputs[0]}"
        if self.null_ids or self.duplicate_ids:
            same = f"{self.duplicate_ids:,} with the id of an earlier row of the same part of a file"
            lines["ids"] = f"{pairs(self.null_ids)} without an id, {same}"
        if self.windowed:
            lines["long pairs"] = f"{long(self.windowed)} read in several windows; column n_windows says which"
        if self.truncated:
            lines["cut"] = f"{long(self.truncated)} longer than the model reads; column truncated says which"
        lines["report"] = f"{output}/{layout.page_name(str(self.plan_id))}"
        if self.executor is ExecutorKind.RAY:
            lines["logs"] = f"of this job: stderr; of Ray: {RAY_LOGS} on each machine"
        return lines

    def _cost_lines(self) -> dict[str, str]:
        """The work of this start, and its durations."""
        lines: dict[str, str] = {}
        earlier, labelled = self.units["done_before"], self.units["labelled"]
        if earlier and labelled:
            parts = how_many(earlier + labelled, "part")
            lines["resumed"] = f"{earlier:,} of {parts} of the input were labelled by earlier starts"
        if labelled:
            rows = "" if self.rows_per_second is None else f"{self.rows_per_second:,.0f} rows/s, "
            lines["speed"] = f"{rows}{self.pairs_per_second:,.0f} pairs/s, {self.tokens_per_second:,.0f} tokens/s"
            lines["time"] = self._times()
            if self.card is not None:
                lines["busy"] = f"the GPUs computed {self.device_busy_share:.0%} of their workers' time"
        if self.out_of_memory:
            split = how_many(self.out_of_memory, "batch", "batches")
            lines["memory"] = f"{split} did not fit into the device and ran in halves; lower --max-batch-tokens"
        if self.leftovers:
            files = how_many(self.leftovers, "unneeded file")
            lines["leftovers"] = f"{files} not deleted, which is harmless: {self.leftovers_reason}"
        return lines

    def _model_lines(self, model: ReportedModel) -> dict[str, str]:
        lines = {"model": f"{model['source']}, in {self.precision} on {self.device}", "model digest": model["digest"]}
        own, asked = model["own_label_map"], model["label_map"]
        if own not in (None, tuple(asked)):
            order = f"{', '.join(asked)} by --label-order; the checkpoint itself says {', '.join(own or ())}"
            lines["label order"] = order
        if len(asked) == len(TWO_LABELS):
            lines["labels of the model"] = (
                "entailment and not_entailment; neutral and contradiction count as the latter"
            )
        return lines

    def _times(self) -> str:
        steps = {
            "to list the input": self.seconds.planning,
            "to start": self.seconds.startup,
            "to label": self.seconds.labelling,
            "to publish": self.seconds.publishing,
        }
        return ", ".join(f"{seconds:.1f} s {step}" for step, seconds in steps.items())
