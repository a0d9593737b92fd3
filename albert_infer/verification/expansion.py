"""What a plan claims about rows that become several pairs, declared independently of `schema`.

The pairs of a row are hypothesis-major: all parts of the premise with the first hypothesis, then with the second.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

RANKING: Final = ("topics", "topics_multi")
CHOOSING: Final = ("any_entailment", "any_contradiction", "entailment_first")
# A row with more pairs has no result.
MAX_PAIRS: Final = 60_000

Hypotheses = tuple[tuple[str, str], ...]


class Expansion(BaseModel):
    """The recipe's key `expansion`. Unknown keys are refused, because they may change the pairs of a row."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    fold: Literal["topics", "topics_multi", "summac_zs", "any_entailment", "any_contradiction", "entailment_first"]
    publish: Literal["pairs", "scores", "both"]
    # The sha256 of the ids and texts of a set of hypotheses.
    hypotheses: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    split_premise: Literal["sentences"] | None = None
    split_hypothesis: Literal["sentences"] | None = None
    splitter: str | None = None
    top_k: Annotated[int, Field(ge=1)] | None = None

    @property
    def with_set(self) -> bool:
        """Whether the hypotheses are a set, and not in the input."""
        return self.hypotheses is not None

    @property
    def splits(self) -> bool:
        """Whether a text is split into sentences."""
        return self.split_premise is not None or self.split_hypothesis is not None

    @property
    def ranks(self) -> bool:
        """Whether the result of a row is a ranking of the hypotheses of a set."""
        return self.fold in RANKING

    @property
    def chooses(self) -> bool:
        """Whether a row gets the label of one of its pairs."""
        return self.fold in CHOOSING

    @model_validator(mode="after")
    def _is_consistent(self) -> Expansion:
        for problem in self._problems():
            raise ValueError(problem)
        return self

    def _problems(self) -> Iterator[str]:
        if not (self.with_set or self.splits):
            yield "an expansion has a set of hypotheses, or splits a text"
        if self.with_set and self.split_hypothesis:
            yield "hypotheses of a set are not split"
        if self.ranks and (self.splits or not self.with_set):
            yield f"the rule {self.fold} needs a set and no split"
        if self.fold == "summac_zs" and self.with_set:
            yield "the rule summac_zs has no set"
        if self.ranks != (self.top_k is not None):
            yield "top_k belongs to rules that rank hypotheses"
        if self.splits != bool(self.splitter):
            yield "splitter belongs to runs that split a text"


def sha256_of(hypotheses: Hypotheses) -> str:
    """The sha256 of a set: of its JSON without spaces, with all characters outside ASCII escaped."""
    text = json.dumps([list(pair) for pair in hypotheses], ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()
