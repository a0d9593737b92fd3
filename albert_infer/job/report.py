"""What a run did, in numbers: `report.json` and its short text.

Counts come from the manifest, that is from what was committed; speeds are those of this start.
"""

from __future__ import annotations

import json
import platform
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib.metadata import version
from typing import Final

from albert_infer.common.printable import PrintableText, how_many, text_of
from albert_infer.common.tables import fact_lines
from albert_infer.model.checkpoint import Checkpoint
from albert_infer.output import layout, sealing
from albert_infer.output.manifest import Manifest, Quarantined
from albert_infer.pipeline.progress import RunProgress
from albert_infer.pipeline.resources import WorkerResources
from albert_infer.preflight.checks import Preflight
from albert_infer.read.planning import Plan
from albert_infer.read.survey import Survey
from albert_infer.schema import ModelRecipe, NliLabel
from albert_infer.storage.input_names import left_out_text

# Where Ray keeps its logs on each machine, unless its RAY_TMPDIR says otherwise.
RAY_LOGS: Final = "/tmp/ray/session_latest/logs"  # noqa: S108  (nothing is written there)
PACKAGES: Final = ("albert-infer", "ray", "torch", "transformers", "tokenizers", "pyarrow", "s3fs")


@dataclass
class Seconds:
    """Where the time of a start went; `startup` is until the first pair was labelled, planning aside."""

    startup: float = 0.0
    planning: float = 0.0
    labelling: float = 0.0
    publishing: float = 0.0


@dataclass(frozen=True)
class QuarantineCounts:
    """What could not be read: files and units, the rows that are known of, and files and units by reason."""

    files: int = 0
    units: int = 0
    rows_known: int = 0
    reasons: dict[str, int] = field(default_factory=dict)


class ReportedModel(ModelRecipe):
    """The checkpoint of a run: what decides labels, where it came from, and what it says of its own outputs."""

    source: str
    # One sha256 for all its files.
    digest: str
    own_label_map: tuple[NliLabel, ...] | None


@dataclass
class Report:
    """One start of a run. Filled while it goes on, so that an end at any point can still be told."""

    plan_id: str | None = None
    exit_code: int = 0
    rows: int = 0
    labelled: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    quarantined: QuarantineCounts = field(default_factory=lambda: QuarantineCounts())
    labels: dict[str, int] = field(default_factory=dict)
    tokens: int = 0
    truncated: int = 0
    # Labelled rows without an id, and with an id that an earlier row of their unit has.
    null_ids: int = 0
    duplicate_ids: int = 0
    # Labelled rows whose largest probability is below `review_below`; None where the run does not ask for it.
    review_below: float | None = None
    needs_review: int = 0
    # Labelled rows in more than one window.
    windowed: int = 0
    padding_share: float = 0.0
    seconds: Seconds = field(default_factory=Seconds)
    pairs_per_second: float = 0.0
    tokens_per_second: float = 0.0
    # Micro-batches that did not fit into the device's memory as a whole; their units may differ in their last bits.
    out_of_memory: int = 0
    units: dict[str, int] = field(default_factory=lambda: {"done_before": 0, "labelled": 0})
    workers: WorkerResources | None = None
    device: str = ""
    precision: str = ""
    max_batch_tokens: int = 0
    model: ReportedModel | None = None
    # None where nothing had to be labelled.
    preflight: Preflight | None = None
    ignored: dict[str, str] = field(default_factory=dict)
    # The plan that was published here before and that this start publishes over.
    replaced_plan: str | None = None
    # URIs of files that came while the run went on: the next run labels them.
    late_inputs: tuple[str, ...] = ()
    # Staged copies and replaced files that could not be deleted, and why; harmless.
    leftovers: int = 0
    leftovers_reason: str = ""
    versions: dict[str, str] = field(default_factory=lambda: installed_versions())

    @classmethod
    def of_plan(cls, plan: Plan, survey: Survey, checkpoint: Checkpoint, workers: WorkerResources) -> Report:
        """What is known before any row is labelled."""
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
            device=str(workers.device),
            precision=plan.recipe["precision"],
            max_batch_tokens=plan.max_batch_tokens,
            review_below=survey.columns.review_below,
        )

    def count(self, manifest: Manifest) -> None:
        """Take over the counts of a sealed run."""
        self.rows = manifest.rows_in
        self.labelled = manifest.labelled
        self.rejected = manifest.rejected
        self.labels = manifest.labels
        self.tokens = manifest.tokens
        self.truncated = manifest.truncated
        self.null_ids = manifest.null_ids
        self.duplicate_ids = manifest.duplicate_ids
        self.needs_review = manifest.needs_review
        self.windowed = manifest.windowed
        self.quarantined = quarantine_counts(manifest.quarantined)

    def count_labelling(self, now: RunProgress, *, begun: float) -> None:
        """Take over how fast a start labelled that has just done so; it began at `begun` on the monotonic clock."""
        ended = time.time()
        self.seconds.labelling = max(ended - (now.first_reported or ended), 1e-3)
        self.seconds.startup = time.monotonic() - begun - self.seconds.planning - self.seconds.labelling
        self.device = ", ".join(sorted(now.devices))
        self.out_of_memory = now.done.halved
        self.padding_share = now.padding_share
        self.pairs_per_second = now.done.rows / self.seconds.labelling
        self.tokens_per_second = now.done.tokens / self.seconds.labelling

    def to_json(self) -> bytes:
        """The bytes of `report.json`."""
        return json.dumps(asdict(self), indent=1).encode()

    def facts(self) -> Mapping[str, object]:
        """What a scheduler wants to know of a run that is published; sums, all else is in `report.json`."""
        return {
            "plan_id": self.plan_id,
            "rows": self.rows,
            "labelled": self.labelled,
            "rejected": sum(self.rejected.values()),
            "quarantined": self.quarantined.units + self.quarantined.files,
            "units_labelled": self.units["labelled"],
            "pairs_per_second": round(self.pairs_per_second, 1),
        }

    def to_text(self, output_uri: str, *, width: int | None = None) -> PrintableText:
        """Lines for a person, the result first; no wider than `width`, if there is one."""
        facts = {
            **self._result_lines(output_uri.rstrip("/")),
            **self._cost_lines(),
            **(self._model_lines(self.model) if self.model is not None else {}),
            **(self.preflight.lines() if self.preflight is not None else {}),
        }
        return text_of(fact_lines(facts, width=width))

    def _result_lines(self, output: str) -> dict[str, str]:
        """What became of the rows, and where it is."""
        pairs = partial(how_many, what="pair")
        idle = "" if self.units["labelled"] else ": nothing was left to do"
        already = "" if self.seconds.publishing else f"; published by an earlier start{idle}"
        marked = f"{pairs(self.needs_review)} marked needs_review: the probability of their label is below"
        where = f"; the rows and why are in {output}/{layout.REJECTED}" if self.rejected else ""
        lines = {
            "published": f"{self.labelled:,} of {pairs(self.rows)} labelled, in {output}/{already}",
            "labels": _counts(self.labels),
            **({"review": f"{marked} {self.review_below}"} if self.review_below is not None else {}),
            "rejected": f"{_counts(self.rejected)}{where}",
            "quarantined": self._unread(),
        }
        if self.ignored:
            lines["left out"] = f"of the input folder: {left_out_text(self.ignored)}"
        if self.late_inputs:
            came = how_many(len(self.late_inputs), "file")
            lines["late"] = f"{came} came after the input was listed, not labelled; first {self.late_inputs[0]}"
        if self.null_ids or self.duplicate_ids:
            same = f"{self.duplicate_ids:,} with the id of an earlier row of the same part of a file"
            lines["ids"] = f"{pairs(self.null_ids)} without an id, {same}"
        if self.windowed:
            lines["long pairs"] = f"{pairs(self.windowed)} read in several windows; column n_windows says which"
        if self.truncated:
            lines["cut"] = f"{pairs(self.truncated)} longer than the model reads; column truncated says which"
        lines["report"] = f"{output}/{layout.report_name(str(self.plan_id))}"
        lines["logs"] = f"of this job: stderr; of Ray: {RAY_LOGS} on each machine"
        return lines

    def _unread(self) -> str:
        bad = self.quarantined
        if not (bad.files or bad.units):
            return "none"
        found = f"{how_many(bad.files, 'file')} and {how_many(bad.units, 'part')} of other files cannot be read"
        return f"{found} ({_counts(bad.reasons)}), with {how_many(bad.rows_known, 'row')} that are known of"

    def _cost_lines(self) -> dict[str, str]:
        """What this start did for the result, and how long it took."""
        lines: dict[str, str] = {}
        done, now = self.units["done_before"], self.units["labelled"]
        if done and now:
            parts = how_many(done + now, "part")
            lines["resumed"] = f"{done:,} of {parts} of the input were labelled by earlier starts"
        if now:
            lines["speed"] = f"{self.pairs_per_second:,.0f} pairs/s, {self.tokens_per_second:,.0f} tokens/s"
            lines["time"] = self._times()
        if self.out_of_memory:
            split = how_many(self.out_of_memory, "batch", "batches")
            lines["memory"] = f"{split} did not fit into the device and ran in halves; lower --max-batch-tokens"
        if self.leftovers:
            left = how_many(self.leftovers, "needless file")
            lines["leftovers"] = f"{left} not deleted, which is harmless: {self.leftovers_reason}"
        return lines

    def _model_lines(self, model: ReportedModel) -> dict[str, str]:
        lines = {"model": f"{model['source']}, in {self.precision} on {self.device}", "model digest": model["digest"]}
        own, asked = model["own_label_map"], model["label_map"]
        if own not in (None, tuple(asked)):
            names = f"{', '.join(asked)} by --label-order; the checkpoint itself says {', '.join(own or ())}"
            lines["label order"] = names
        return lines

    def _times(self) -> str:
        spent = self.seconds
        steps = {
            "to list the input": spent.planning,
            "to start": spent.startup,
            "to label": spent.labelling,
            "to publish": spent.publishing,
        }
        return ", ".join(f"{seconds:.1f} s {step}" for step, seconds in steps.items())


def quarantine_counts(quarantined: Quarantined) -> QuarantineCounts:
    """How many files and units could not be read, the rows that are known of, and why."""
    reasons = [*(file.reason for file in quarantined.files), *(unit.reason for unit in quarantined.units)]
    return QuarantineCounts(
        files=len(quarantined.files),
        units=len(quarantined.units),
        rows_known=quarantined.rows_known,
        reasons=dict(Counter(reasons)),
    )


def installed_versions() -> dict[str, str]:
    """What decides how this run behaves, by version."""
    return {"python": platform.python_version(), **{package: version(package) for package in PACKAGES}}


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {rows:,}" for name, rows in counts.items()) or "none"
