"""Pages of published runs: `report.html` of one run, and an index of all runs below a folder."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import BaseModel, ValidationError

from albert_infer import storage
from albert_infer.common.pages import html_page
from albert_infer.common.printable import PrintableText, how_many, printable, text_of
from albert_infer.config import ReportSettings
from albert_infer.errors import AlbertInferError, InputError, ObjectMissingError
from albert_infer.job import pictures
from albert_infer.job.report import Report
from albert_infer.job.report_file import put_over
from albert_infer.job.report_page import ShownPair, ShownTexts, page_of, read_report
from albert_infer.operations.leftovers import outputs_of
from albert_infer.output import layout
from albert_infer.output.distribution import MAX_FILES, MAX_ROWS, distribution_of, drawn_files, read_columns
from albert_infer.output.manifest import Manifest, PublishedRun, published_at
from albert_infer.schema import BEST, HYPOTHESIS, HYPOTHESIS_ID, LABEL, PREMISE, SCORE, probability_columns
from albert_infer.storage import Folder, S3Access

# Pairs of each kind that a page shows.
SHOWN_PAIRS: Final = 25
# Columns of runs whose rows become several pairs; each run has some of them.
COLUMNS_OF_ROWS: Final = (HYPOTHESIS_ID, BEST, SCORE)
# Series of labels of an index.
MAX_LABELS: Final = 10
INDEX: Final = f"{layout.RUNS}index.html"
# Nights of an index; older ones are left out.
MAX_NIGHTS: Final = 366


class _KeptPlan(BaseModel):
    """What a page with texts shows of `plan.json`."""

    hypotheses: Sequence[tuple[str, str]] = ()


def make_pages(settings: ReportSettings) -> PrintableText:
    """Write the page or the index that the settings ask for; where it is, as text. Raises AlbertInferError."""
    access = S3Access(settings.s3_endpoint, bucket_owner=settings.output_bucket_owner)
    output = storage.open_folder(settings.output, access)
    if settings.index:
        return text_of(_write_index(output, access))
    return text_of([f"report       {_write_page(output, with_texts=settings.include_texts)}"])


def _write_page(output: Folder, *, with_texts: bool) -> str:
    """Write the page of what is published at the output; its URI."""
    with storage.refused(InputError):
        published = published_at(output)
    if published is None:
        raise InputError(f"--output {output.uri}", "nothing is published there", "give the output of a finished run")
    manifest = published.manifest
    report = _report_of(published, output)
    page = page_of(report, output, manifest)
    name = layout.page_name(published.plan_id)
    put_over(name, page.html(_texts(manifest, output) if with_texts else None), output)
    return output.uri_of(name)


def _report_of(published: PublishedRun, output: Folder) -> Report:
    """The report of the start that published the run, with the counts of the manifest."""
    report = read_report(published.plan_id, output)
    report.count(published.manifest)
    report.exit_code, report.error = 0, ""
    if report.distribution is None:
        report.distribution = distribution_of(published.manifest, output)
    return report


def _texts(manifest: Manifest, output: Folder) -> ShownTexts:
    """The least certain pairs, and pairs drawn at random, of a bounded sample of files. The same pairs each time."""
    least: list[tuple[float, int, ShownPair]] = []
    drawn: list[ShownPair] = []
    chance = random.Random(manifest.plan_id)  # noqa: S311  (a sample, not a secret)
    for number, pair in enumerate(_pairs(manifest, output)):
        heapq.heappush(least, (-pair.probability, number, pair))
        if len(least) > SHOWN_PAIRS:
            heapq.heappop(least)
        if len(drawn) < SHOWN_PAIRS:
            drawn.append(pair)
        elif (index := chance.randrange(number + 1)) < SHOWN_PAIRS:
            drawn[index] = pair
    in_order = sorted(least, key=lambda entry: (-entry[0], entry[1]))
    return ShownTexts(least_certain=[pair for _, _, pair in in_order], random=drawn)


def _pairs(manifest: Manifest, output: Folder) -> Iterator[ShownPair]:
    hypotheses = _hypotheses(manifest, output)
    columns_of_labels = probability_columns(manifest.label_set)
    columns = (PREMISE, HYPOTHESIS, LABEL, *columns_of_labels, *(COLUMNS_OF_ROWS if manifest.pairs else ()))
    for entry in drawn_files(manifest.files, max_rows=MAX_ROWS, max_files=MAX_FILES):
        for batch in read_columns(entry.path, output, columns):
            probabilities = [name for name in columns_of_labels if name in batch.schema.names]
            for row in batch.to_pylist():
                # Of a row with several pairs: its best hypothesis, or the hypothesis that decides.
                known = hypotheses.get(row.get(BEST, row.get(HYPOTHESIS_ID)), "")
                yield ShownPair(
                    premise=printable(row[PREMISE]),
                    hypothesis=printable(row.get(HYPOTHESIS, known)),
                    label=printable(row.get(LABEL, row.get(BEST, SCORE))),
                    probability=max((row[name] for name in probabilities), default=row.get(SCORE)),
                )


def _hypotheses(manifest: Manifest, output: Folder) -> dict[str, str]:
    """The hypotheses of the run's set, by id; none in a run without a set."""
    if not manifest.pairs:
        return {}
    try:
        return dict(_KeptPlan.model_validate_json(output.read(layout.plan_name(manifest.plan_id))).hypotheses)
    except (ObjectMissingError, ValidationError):
        return {}


@dataclass(frozen=True)
class Night:
    """One published run of an index. `report` is None where it cannot be read; `link` leads to its page, if any."""

    name: str
    manifest: Manifest
    report: Report | None
    link: str | None

    @property
    def rejected_share(self) -> float:
        """Rows without a label, as a share of all rows."""
        return self.manifest.rejected_rows / self.manifest.rows_in if self.manifest.rows_in else 0.0

    def label_share(self, label: str) -> float:
        """Rows or pairs with this label, as a share of all that have a label."""
        return self.manifest.labels.get(label, 0) / max(sum(self.manifest.labels.values()), 1)


@dataclass(frozen=True)
class Series:
    """One small picture of an index: a value for each night."""

    name: str
    bars: Sequence[pictures.Bar]
    text: str


def _write_index(root: Folder, access: S3Access) -> list[str]:
    with storage.refused(InputError):
        outputs = sorted(outputs_of(root.stored()))
    nights = [night for below in outputs[-MAX_NIGHTS:] if (night := _night(below, root, access)) is not None]
    if not nights:
        raise InputError(f"--output {root.uri}", "no run is published below it", "correct the location")
    put_over(INDEX, _index(nights, root), root)
    return [f"index        {root.uri_of(INDEX)}", f"runs         {how_many(len(nights), 'published run')}"]


def _night(below: str, root: Folder, access: S3Access) -> Night | None:
    """What is published at one output; None for nothing, and for an output that cannot be read."""
    output = storage.open_folder(storage.subfolder(root.uri, below.rstrip("/")), access) if below else root
    try:
        published = published_at(output)
        if published is None:
            return None
        has_page = output.stat(layout.page_name(published.plan_id)) is not None
    except AlbertInferError:
        return None
    try:
        report: Report | None = read_report(published.plan_id, output)
    except AlbertInferError:
        report = None
    link = f"../{below}{layout.page_name(published.plan_id)}" if has_page else None
    return Night(printable(below.rstrip("/")) or ".", published.manifest, report, link)


def _index(nights: Sequence[Night], root: Folder) -> bytes:
    total: Counter[str] = Counter()
    for night in nights:
        total.update(night.manifest.labels)
    labels = sorted(label for label, _ in total.most_common(MAX_LABELS))
    names = [night.name for night in nights]
    series = [
        Series(
            "rows",
            pictures.bars([night.manifest.rows_in for night in nights], names),
            _range([night.manifest.rows_in for night in nights], "rows"),
        ),
        *(
            Series(
                f"share of {label}",
                pictures.bars([round(10_000 * night.label_share(label)) for night in nights], names),
                _share_range([night.label_share(label) for night in nights]),
            )
            for label in labels
        ),
        Series(
            "share of rejected rows",
            pictures.bars([round(10_000 * night.rejected_share) for night in nights], names),
            _share_range([night.rejected_share for night in nights]),
        ),
    ]
    return html_page(
        "albert_infer.operations",
        "index.html.j2",
        root=printable(root.uri),
        nights=nights,
        series=series,
        labels=labels,
    )


def _range(values: Sequence[int], what: str) -> str:
    return f"{min(values):,} to {max(values):,} {what}"


def _share_range(values: Sequence[float]) -> str:
    return f"{min(values):.1%} to {max(values):.1%}"
