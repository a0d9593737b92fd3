"""What a report says of a run whose rows become several pairs. Other runs have none of these facts and keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from albert_infer.common.printable import how_many
from albert_infer.output import layout
from albert_infer.read.planning import Plan
from albert_infer.schema import FoldRule, Publish

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

# Keys of reports and plans that only such runs have.
KEYS: Final = frozenset({"expansion", "pairs", "rows_per_second", "axes", "expanded"})
# Labels of a line of text; JSON has all of them.
SHOWN_LABELS: Final = 10


@dataclass(frozen=True)
class ReportedExpansion:
    """The pairs of a row, the rule that folds them, and the published tables.

    `hypotheses` is the size of the set; 0 if each row has its own hypothesis. The other values are those of the plan,
    and empty or 0 where the run has none.
    """

    fold: FoldRule
    publish: Publish
    hypotheses: int
    hypotheses_sha256: str
    split_premise: bool
    split_hypothesis: bool
    splitter: str
    top_k: int

    @classmethod
    def of_plan(cls, plan: Plan) -> ReportedExpansion | None:
        """How each row of the plan becomes several pairs; None if each row is one pair."""
        recipe = plan.recipe.get("expansion")
        if recipe is None:
            return None
        return cls(
            fold=FoldRule(recipe["fold"]),
            publish=recipe["publish"],  # type: ignore[arg-type]  # the plan has it from the settings
            hypotheses=len(plan.hypotheses),
            hypotheses_sha256=recipe.get("hypotheses", ""),
            split_premise="split_premise" in recipe,
            split_hypothesis="split_hypothesis" in recipe,
            splitter=recipe.get("splitter", ""),
            top_k=recipe.get("top_k", 0),
        )

    @property
    def counted(self) -> tuple[object, ...]:
        """What decides the meaning of labels and scores. The counts of two runs are comparable if this is equal."""
        is_pairs = self.publish == "pairs"
        rule = None if is_pairs else self.fold
        return is_pairs, rule, self.hypotheses_sha256, self.split_premise, self.split_hypothesis

    def to_text(self) -> str:
        """The rule, the set and the split, in short."""
        of = f", {how_many(self.hypotheses, 'hypothesis', 'hypotheses')} ({self.hypotheses_sha256[:8]})"
        split = {"premise": self.split_premise, "hypothesis": self.split_hypothesis}
        texts = "".join(f", split {name}" for name, is_split in split.items() if is_split)
        return f"{self.fold}{of if self.hypotheses else ''}{texts}, tables {self.publish}"

    @property
    def result(self) -> str:
        """What the labels of the report count."""
        if self.publish == "pairs":
            return "pairs by label"
        return "rows by their best hypothesis" if self.fold.ranks_hypotheses else "rows by label"

    def lines(self, output: str, labels: Mapping[str, int]) -> dict[str, str]:
        """Lines for a person, by their names. `output` is the URI of the run, and `labels` has its counts."""
        split = [
            name
            for name, is_split in (("premise", self.split_premise), ("hypothesis", self.split_hypothesis))
            if is_split
        ]
        texts = f", {' and '.join(split)} split into sentences by {self.splitter}" if split else ""
        of = f"{how_many(self.hypotheses, 'hypothesis', 'hypotheses')}" if self.hypotheses else "its own hypothesis"
        tables = {
            "scores": "scores, one row for each input row",
            "pairs": "pairs",
            "both": f"scores, one row for each input row; pairs are in {output}/{layout.PAIRS}",
        }
        return {
            "questions": f"each text with {of}{texts}; rule {self.fold}",
            **({"set": f"sha256 {self.hypotheses_sha256}"} if self.hypotheses else {}),
            "tables": tables[self.publish],
            **({"labels": f"{self.result}: {most_frequent(labels)}"} if labels else {}),
        }


@dataclass(frozen=True)
class LabelShare:
    """A label, the number of rows with the label, and their share of all."""

    name: str
    rows: int
    share: float


def json_of(record: DataclassInstance) -> dict[str, object]:
    """The record as JSON values. A key of KEYS is left out where its value is None."""
    return asdict(record, dict_factory=_given)


def label_shares(counts: Mapping[str, int], *, by_count: bool) -> list[LabelShare]:
    """The labels with their shares of all, and the labels after SHOWN_LABELS as one.

    The order is that of the counts, or largest first.
    """
    ordered = sorted(counts.items(), key=lambda entry: -entry[1]) if by_count else list(counts.items())
    total = max(sum(counts.values()), 1)
    shares = [LabelShare(name, rows, rows / total) for name, rows in ordered[:SHOWN_LABELS]]
    if others := [rows for _, rows in ordered[SHOWN_LABELS:]]:
        shares.append(LabelShare(f"{len(others):,} others", sum(others), sum(others) / total))
    return shares


def most_frequent(counts: Mapping[str, int]) -> str:
    """The largest counts as text, largest first."""
    ordered = sorted(counts.items(), key=lambda entry: -entry[1])
    shown = ", ".join(f"{name} {rows:,}" for name, rows in ordered[:SHOWN_LABELS]) or "none"
    more = len(ordered) - SHOWN_LABELS
    return f"{shown}, and {more:,} more" if more > 0 else shown


def _given(items: list[tuple[str, object]]) -> dict[str, object]:
    return {name: value for name, value in items if value is not None or name not in KEYS}
