"""Evaluates a run whose rows have a score: a ranking of hypotheses, or consistency. Gives the result as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from albert_infer.common.printable import how_many
from albert_infer.config import EvaluateSettings
from albert_infer.errors import InputError
from albert_infer.learning.evaluation.consistency import Consistency, ConsistencyCounts, consistency
from albert_infer.learning.evaluation.counting import HARDEST_ROWS, MAX_TEXT_LETTERS
from albert_infer.learning.evaluation.document import FORMAT, as_json
from albert_infer.learning.evaluation.ranking import Ranking, RankingCounts, ranking
from albert_infer.learning.evaluation.rows import POSITION
from albert_infer.learning.evaluation.runs import Part, PublishedRun, refuse_without_gold
from albert_infer.learning.evaluation.sampling import LeastRows
from albert_infer.learning.evaluation.scored_gold import CONSISTENT, gold_answers, gold_ids
from albert_infer.schema import BEST, HYPOTHESIS, PREMISE, SCORE, TOP, FoldRule

ANSWERS: Final = ("inconsistent", "consistent")
_GOLD: Final = "_gold"


@dataclass(frozen=True)
class ScoredRows:
    """The numbers of rows: with a score (with or without a gold answer) and rejected."""

    scored: int
    with_gold: int
    without_gold: int
    rejected: dict[str, int]


@dataclass(frozen=True)
class HardRow:
    """A wrong ranking with a high score; or an inconsistent row with a high score, or a consistent row with a low one.

    Texts are None with `no_texts`.
    """

    file: str
    row: int
    gold: str
    best: str | None
    score: float
    premise: str | None
    hypothesis: str | None


@dataclass(frozen=True)
class ScoredEvaluation:
    """The source and the results. One of `ranking` and `consistency` is there."""

    source: Mapping[str, object]
    rule: str
    rows: ScoredRows
    ranking: Ranking | None
    consistency: Consistency | None
    hardest: tuple[HardRow, ...]
    versions: dict[str, str]

    def to_json(self) -> bytes:
        """The bytes of `evaluation.json`. Undefined figures are null."""
        return as_json({"format": FORMAT, **asdict(self)})


class _Judge:
    """Counts the rows of a run, and keeps the hardest ones."""

    def __init__(self, run: PublishedRun) -> None:
        self._run = run
        self._gold_column = str(run.gold_column)
        hypotheses = run.expansion.hypotheses if run.expansion is not None else None
        self.ids = hypotheses.ids if hypotheses is not None else ()
        self.ranking = RankingCounts(self.ids, run.expansion.top_k) if self.ids and run.expansion is not None else None
        self.consistency = None if self.ranking else ConsistencyCounts()
        self.hardest = LeastRows(HARDEST_ROWS)

    @property
    def columns(self) -> list[str]:
        """The columns to read."""
        results = [BEST, SCORE, TOP, PREMISE] if self.ranking else [SCORE, PREMISE, HYPOTHESIS]
        return [*results, self._gold_column]

    def add(self, part: Part) -> None:
        """Count the rows of a part. Raises InputError for a gold answer that is none."""
        where = f"column `{self._gold_column}` of {self._run.folder.uri_of(part.path)}"
        rows = part.rows.append_column(POSITION, pa.array(part.positions))
        score = rows[SCORE].to_numpy()
        if self.ranking:
            gold = gold_ids(rows[self._gold_column], where, part.names, self.ids)
            hard, keys = self.ranking.add(rows, gold), -score
        else:
            assert self.consistency is not None  # noqa: S101  (for the type checker: one of the two is there)
            gold = gold_answers(rows[self._gold_column], where, part.names)
            hard, keys = self.consistency.add(rows, gold), np.where(gold == CONSISTENT, score, -score)
        self._keep(rows, gold, hard & self.hardest.wants(keys), keys)

    def _keep(
        self, rows: pa.Table, gold: NDArray[np.int64], hard: NDArray[np.bool_], keys: NDArray[np.float32]
    ) -> None:
        names = [name for name in (POSITION, SCORE, BEST) if name in rows.column_names]
        table = rows.select(names).append_column(_GOLD, pa.array(gold))
        for name in (PREMISE, HYPOTHESIS):
            if name in rows.column_names:
                shown = pc.utf8_slice_codeunits(rows[name].cast(pa.string()), 0, MAX_TEXT_LETTERS)
                table = table.append_column(name, shown)
        self.hardest.add(table.filter(pa.array(hard)), keys[hard])

    def hard_rows(self, *, texts: bool) -> Iterator[HardRow]:
        """The hardest rows, hardest first."""
        kept = self.hardest.rows()
        for row in kept.to_pylist() if kept is not None else ():
            yield HardRow(
                *self._run.file_and_row(row[POSITION]),
                (self.ids or ANSWERS)[row[_GOLD]],
                row.get(BEST),
                row[SCORE],
                row[PREMISE] if texts else None,
                row.get(HYPOTHESIS) if texts else None,
            )


def evaluated_scores(run: PublishedRun, settings: EvaluateSettings, versions: dict[str, str]) -> ScoredEvaluation:
    """Evaluate the scores of a run. Every row is read once.

    Raises InputError for settings that are for labels, for a run without gold answers, and for answers of another kind.
    """
    _refuse_settings_of_labels(run, settings)
    refuse_without_gold(run, settings.gold_column)
    judge = _Judge(run)
    for part in run.parts(judge.columns):
        if part.rows.num_rows:
            judge.add(part)
    counts = judge.ranking or judge.consistency
    assert counts is not None  # noqa: S101  (for the type checker: one of the two is there)
    asked = f"an evaluation of {settings.run}"
    if not counts.with_gold:
        problem = f"none of its {how_many(counts.rows, 'row')} with a score has a gold answer"
        raise InputError(asked, problem, "give --gold-column, or other rows")
    rows = ScoredRows(counts.rows, counts.with_gold, counts.rows - counts.with_gold, dict(run.rejected))
    if judge.consistency and len(np.unique(judge.consistency.sample()[0])) < 2:
        raise InputError(asked, "all its gold answers are the same one", "give consistent and inconsistent rows")
    return ScoredEvaluation(
        run.description(),
        str(run.scoring_rule),
        rows,
        ranking(judge.ranking, judge.ids) if judge.ranking else None,
        consistency(judge.consistency) if judge.consistency else None,
        tuple(judge.hard_rows(texts=not settings.no_texts)),
        versions,
    )


def _refuse_settings_of_labels(run: PublishedRun, settings: EvaluateSettings) -> None:
    for flag, value in (
        ("--other-run", settings.other_run),
        ("--slices", settings.slices),
        ("--review-below", settings.review_below),
    ):
        if value:
            rule: FoldRule | None = run.scoring_rule
            problem = f"it is for labels, and the rows of a run with the rule {rule} have scores"
            raise InputError(f"{flag} with {run.folder.uri}", problem, f"leave out {flag}")
