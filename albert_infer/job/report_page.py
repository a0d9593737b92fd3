"""`report.html`: what a start of a run did, as one page for people. The numbers are those of `report.json`."""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Final

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from albert_infer.common.pages import html_page
from albert_infer.common.printable import how_many, printable
from albert_infer.engine.kernel_use import slow_line
from albert_infer.errors import IntegrityError, ObjectMissingError
from albert_infer.job import pictures
from albert_infer.job.estimate.at_start import EstimateRow, estimate_rows
from albert_infer.job.expanded import LabelShare, label_shares
from albert_infer.job.report import Report
from albert_infer.output import layout
from albert_infer.output.distribution import ORDINARY, Axes, Distribution, read_columns
from albert_infer.output.manifest import Manifest
from albert_infer.schema import LABEL, PAIR_ID, REJECTION, SOURCE_FILE, SOURCE_ROW
from albert_infer.storage import Folder

# Ids that are shown of each reason, and the files that are read to find them.
SHOWN_IDS: Final = 10
REJECTED_FILES: Final = 8
MAX_ID_LETTERS: Final = 80


class _KeptPlan(BaseModel):
    """What the page shows of `plan.json`."""

    model_config = ConfigDict(strict=True)

    settings: Mapping[str, object] = {}


@dataclass(frozen=True)
class ShownPair:
    """A labelled pair with its texts; of a row with several pairs, its texts and its result."""

    premise: str
    hypothesis: str
    label: str
    probability: float


@dataclass(frozen=True)
class ShownTexts:
    """Pairs for a person to read. Only a person who asks for texts gets them."""

    least_certain: Sequence[ShownPair]
    random: Sequence[ShownPair]


@dataclass(frozen=True)
class ReportPage:
    """What the page shows of one start, in the words and order of the page.

    `rejected_ids` has some rows of each reason, by their id, or by file and row.
    """

    output: str
    report: Report
    settings: Mapping[str, str]
    rejected_ids: Mapping[str, Sequence[str]]

    @property
    def is_published(self) -> bool:
        """Whether the start ended with a published run."""
        return self.report.exit_code == 0

    @property
    def headline(self) -> str:
        """The result, in one sentence."""
        report = self.report
        if not self.is_published:
            return f"Not published: exit code {report.exit_code}. {report.error}"
        rest = []
        if self.rejected_rows:
            rest.append(f"{how_many(self.rejected_rows, report.unit)} rejected")
        if report.quarantined.rows_known:
            rest.append(f"{how_many(report.quarantined.rows_known, 'row')} in files that cannot be read")
        others = f"; {', '.join(rest)}" if rest else ""
        pairs = "" if report.pairs is None else f", {how_many(report.pairs, 'pair')}"
        return f"Published: {report.labelled:,} of {how_many(report.rows, report.unit)} labelled{pairs}{others}."

    @property
    def rejected_rows(self) -> int:
        """Rows without a label, whatever the reason."""
        return sum(self.report.rejected.values())

    @property
    def time(self) -> str:
        """How long the start took."""
        spent = self.report.seconds
        seconds = spent.planning + spent.startup + spent.labelling + spent.publishing
        return f"{seconds:.0f} s" if seconds < 100 else str(timedelta(seconds=round(seconds)))

    @property
    def origin(self) -> dict[str, str]:
        """Input, checkpoint and plan."""
        report, model = self.report, self.report.model
        done, labelled = report.units["done_before"], report.units["labelled"]
        earlier = f", {how_many(done, 'unit')} labelled by earlier starts" if done else ""
        replaced = {"replaces": f"plan {report.replaced_plan}"} if report.replaced_plan else {}
        left_out = f"{how_many(len(report.ignored), 'object')} of the input folder"
        lines = {
            "input": str(self.settings.get("input", "")),
            "output": self.output,
            "plan": f"{report.plan_id}: {how_many(labelled, 'unit')} labelled by this start{earlier}",
            **replaced,
            **(report.expansion.lines(self.output.rstrip("/"), {}) if report.expansion is not None else {}),
            "precision": f"{report.precision} on {report.device}",
            **slow_line(report.kernels or ()),
            **({"checkpoint": model["source"], "checkpoint digest": model["digest"]} if model is not None else {}),
            **({"left out": left_out} if report.ignored else {}),
        }
        return {name: text for name, text in lines.items() if text}

    @cached_property
    def flow(self) -> list[pictures.Ribbon]:
        """The ribbons of the picture: where the rows of the input went. Rows that are nowhere yet are `missing`."""
        report = self.report
        labelled, rejected, quarantined = report.labelled, self.rejected_rows, report.quarantined.rows_known
        missing = max(report.rows - labelled - rejected - quarantined, 0)
        outcomes = {"labelled": labelled, "rejected": rejected, "quarantined": quarantined, "missing": missing}
        return pictures.flow(outcomes)

    @property
    def flow_height(self) -> float:
        """The height of the picture."""
        return max(ribbon.right + ribbon.height for ribbon in self.flow) + 16

    @property
    def flow_text(self) -> str:
        """The picture in words."""
        names = {"missing": "not labelled yet"}
        parts = [f"{ribbon.rows:,} {names.get(ribbon.name, ribbon.name)}" for ribbon in self.flow]
        return f"{how_many(self.report.rows, 'row')} of the input: {', '.join(parts)}."

    @property
    def axes(self) -> Axes:
        """What the distribution of the report counts."""
        counted = self.report.distribution
        return ORDINARY if counted is None or counted.axes is None else counted.axes

    @property
    def counted(self) -> str:
        """The noun of what has labels in this run's files."""
        is_pairs = self.report.expansion is not None and self.report.expansion.publish == "pairs"
        return "pairs" if is_pairs else "rows"

    @property
    def confidence_title(self) -> str:
        """The title of the picture of probabilities, or of scores."""
        value = "the probability of their label" if self.axes.result == LABEL else "their score"
        return f"Labelled {self.counted} by {value}"

    @property
    def confidence_range(self) -> tuple[str, str]:
        """The smallest and the largest value of the picture."""
        return f"{self.axes.values[0]:.2f}", f"{self.axes.values[-1]:.2f}"

    @property
    def labels(self) -> list[LabelShare]:
        """The labels, with their shares of all; where they are hypotheses, the most frequent ones."""
        return label_shares(self.report.labels, by_count=self.report.expansion is not None)

    @property
    def confidence(self) -> list[pictures.Bar]:
        """The bars of probabilities."""
        counted = _known(self.report.distribution)
        edges = list(itertools.pairwise(self.axes.values))
        return pictures.bars(counted.confidence_of_all, [f"{low:.2f} to {high:.2f}" for low, high in edges])

    @property
    def tokens(self) -> list[pictures.Bar]:
        """The bars of lengths, without empty ones at the ends."""
        counts = _known(self.report.distribution).tokens
        edges = self.axes.tokens
        names = [*(f"{low + 1} to {high}" for low, high in itertools.pairwise(edges)), f"over {edges[-1]}"]
        used = [number for number, rows in enumerate(counts) if rows] or [0]
        part = slice(used[0], used[-1] + 1)
        return pictures.bars(counts[part], names[part])

    @cached_property
    def pace(self) -> pictures.PaceLines | None:
        """The lines of speed and workers; None for a start that was too short."""
        return pictures.pace_lines(self.report.pace)

    @property
    def pace_text(self) -> str:
        """The picture in words."""
        if self.pace is None:
            return ""
        workers = how_many(self.pace.most_workers, "worker")
        return f"At most {self.pace.most_speed:,.0f} {self.report.unit}s a second, with at most {workers}."

    @property
    def checks(self) -> dict[str, str]:
        """A line on each check; none where nothing was labelled."""
        return self.report.preflight.lines() if self.report.preflight is not None else {}

    @property
    def seconds(self) -> dict[str, str]:
        """Where the time went."""
        spent = self.report.seconds
        steps = {
            "planning": spent.planning,
            "starting": spent.startup,
            "labelling": spent.labelling,
            "publishing": spent.publishing,
        }
        return {step: f"{seconds:,.1f} s" for step, seconds in steps.items()}

    @property
    def estimates(self) -> list[EstimateRow]:
        """What was estimated and the outcome; none for a start that did not publish what it labelled."""
        return estimate_rows(self.report)

    def html(self, texts: ShownTexts | None = None) -> bytes:
        """The page, UTF-8."""
        return html_page(
            "albert_infer.job",
            "report.html.j2",
            page=self,
            report=self.report,
            distribution=self.report.distribution,
            texts=texts,
        )


def _known(distribution: Distribution | None) -> Distribution:
    assert distribution is not None  # noqa: S101  (for the type checker: the template asks for no bars without it)
    return distribution


def page_of(report: Report, output: Folder, manifest: Manifest | None) -> ReportPage:
    """The page of a start whose report this is; `manifest` is what it published, None if nothing.

    Raises AlbertInferError for files of the run that cannot be read.
    """
    return ReportPage(
        output=printable(output.uri),
        report=report,
        settings=_settings(str(report.plan_id), output),
        rejected_ids=_rejected_ids(manifest, output) if manifest is not None else {},
    )


def read_report(plan_id: str, output: Folder) -> Report:
    """The report in the folder of a run. Raises ObjectMissingError, and IntegrityError for what is not a report."""
    name = layout.report_name(plan_id)
    data = output.read(name)
    try:
        return TypeAdapter(Report).validate_json(data)
    except ValidationError as error:
        asked, remedy = f"read {output.uri_of(name)}", "use the version of albert-infer that wrote it, or a newer one"
        raise IntegrityError(asked, "it is not a report that this version can read", remedy) from error


def _settings(plan_id: str, output: Folder) -> dict[str, str]:
    """The settings of the run that differ from nothing: those that have a value."""
    try:
        kept = _KeptPlan.model_validate_json(output.read(layout.plan_name(plan_id)))
    except (ObjectMissingError, ValidationError):
        return {}
    given = {name: value for name, value in kept.settings.items() if value not in (None, [], "", False)}
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in sorted(given.items())}


def _rejected_ids(manifest: Manifest, output: Folder) -> dict[str, list[str]]:
    """The first rows of each reason, by their ids, or by file and row where they have none. Never their texts."""
    ids: dict[str, list[str]] = defaultdict(list)
    for entry in manifest.rejected_files[:REJECTED_FILES]:
        for batch in read_columns(entry.path, output, (PAIR_ID, SOURCE_FILE, SOURCE_ROW, REJECTION)):
            for row in batch.to_pylist():
                if len(ids[row[REJECTION]]) < SHOWN_IDS:
                    ids[row[REJECTION]].append(_name_of(row))
    return dict(ids)


def _name_of(row: Mapping[str, object]) -> str:
    known = row.get(PAIR_ID)
    name = f"{row[SOURCE_FILE]} row {row[SOURCE_ROW]}" if known is None else f"id {known}"
    return printable(name)[:MAX_ID_LETTERS]
