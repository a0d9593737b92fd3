"""The settings of runs that ask many questions of one text: each row becomes several pairs, and has one result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Any, Final, Self

from cyclopts import Parameter
from pydantic import AfterValidator, BeforeValidator, model_validator

from albert_infer import schema
from albert_infer.config.groups import QUESTIONS, Mark, flag_of
from albert_infer.config.shared import SettingsPart
from albert_infer.config.values import AnyLocation, Count
from albert_infer.schema import DEFAULT_TEMPLATE, DEFAULT_TOP_K, Expansion, FoldRule, HypothesisSet, Publish, Split

# In a template, the name of a candidate goes here.
PLACEHOLDER: Final = "{}"
# What a set needs with a split: a rule that chooses one pair of the row.
CHOOSING: Final = "any_entailment, any_contradiction or entailment_first"
# Settings that have a meaning only where a row becomes several pairs.
_OF_SEVERAL_PAIRS: Final = ("fold", "publish", "top_k", "hypothesis_template")
# The columns of any such run: in its output, and in tables between its steps. The steps and the readers of a run tell
# tables apart by some of these names.
_EXPANSION_NAMES: Final = frozenset(
    {
        schema.PREMISE_PARTS,
        schema.HYPOTHESIS_PARTS,
        schema.PREMISE_BOUNDS,
        schema.HYPOTHESIS_BOUNDS,
        schema.PAIRS,
        schema.NEEDS_REVIEW,
        schema.N_WINDOWS,
        schema.HYPOTHESIS_ID,
        schema.PREMISE_SENTENCE,
        schema.PREMISE_START,
        schema.PREMISE_END,
        schema.HYPOTHESIS_SENTENCE,
        schema.HYPOTHESIS_START,
        schema.HYPOTHESIS_END,
        *(field.name for field in (*schema.TOPIC_FIELDS, *schema.COUNT_FIELDS)),
    }
)


def _candidates(value: Any) -> Any:
    """The candidates in `a,b` on the command line, and in ["a", "b"] in a file. Raises ValueError for a blank one."""
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list | tuple) or not all(isinstance(each, str) for each in values):
        return value
    in_file = "write candidates that have a comma to a file, and give --hypotheses FILE"
    if len(values) > 1 and any("," in each for each in values):
        raise ValueError(f"one of several values has a comma; give one list, as a,b, or {in_file}")
    names = tuple(name.strip() for each in values for name in each.split(","))
    if "" in names:
        raise ValueError(f"a candidate is blank; give names between commas, as a,b; {in_file}")
    if any((name[0] == '"' and name[-1] != '"') or name.endswith("\\") for name in names):
        raise ValueError(f"a quote or a backslash does not keep a comma; {in_file}")
    return names


def _distinct(value: tuple[str, ...]) -> tuple[str, ...]:
    again = next((name for name, count in Counter(value).items() if count > 1), None)
    if again is not None:
        raise ValueError(f"`{again:.80}` is there twice; give each candidate once")
    if not all(map(_is_utf8, value)):
        raise ValueError("a candidate is not UTF-8; write it in UTF-8")
    return value


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def checked_template(value: str) -> str:
    """A template with one place for the name of a candidate. Raises ValueError for another text."""
    rest = value.replace(PLACEHOLDER, "", 1)
    if rest == value or "{" in rest or "}" in rest:
        raise ValueError(f"expected one {PLACEHOLDER} for the candidate, and no other braces, as `{DEFAULT_TEMPLATE}`")
    if not _is_utf8(value):
        raise ValueError("the template is not UTF-8; write it in UTF-8")
    return value


def _unsplit(_: Any, text: str, **__: Any) -> list[str]:
    """The value of a variable, unchanged. By default Cyclopts splits it at each space."""
    return [text]


Candidates = Annotated[
    tuple[str, ...],
    BeforeValidator(_candidates),
    AfterValidator(_distinct),
    Parameter(show_default=False, env_var_split=_unsplit),
]
Template = Annotated[str, AfterValidator(checked_template)]


class ManyQuestions(SettingsPart):
    """The pairs of a row, the rule that folds their probabilities, and the tables to publish."""

    candidates: Annotated[
        Candidates,
        Parameter(
            group=QUESTIONS,
            help="Topics, as `a,b`, to rank for each premise; the input needs no hypotheses. Texts with a comma need "
            "--hypotheses.",
        ),
    ] = ()
    hypotheses: Annotated[
        AnyLocation | None,
        Parameter(
            group=QUESTIONS,
            help="File (.parquet, .jsonl, .csv) of `hypothesis_id` and `hypothesis` to pair with each premise; the "
            "input needs no hypotheses.",
        ),
    ] = None
    hypothesis_template: Annotated[
        Template | None,
        Parameter(
            group=QUESTIONS,
            help=f"Text that makes a hypothesis of a candidate in place of {PLACEHOLDER}; default: {DEFAULT_TEMPLATE}",
        ),
        Mark.RARE,
    ] = None
    split_premise: Annotated[
        Split | None,
        Parameter(group=QUESTIONS, help="`sentences`: each sentence of the premise makes a pair of its own."),
        Mark.RARE,
    ] = None
    split_hypothesis: Annotated[
        Split | None,
        Parameter(group=QUESTIONS, help="`sentences`: each sentence of the hypothesis makes a pair of its own."),
        Mark.RARE,
    ] = None
    fold: Annotated[
        FoldRule | None,
        Parameter(
            group=QUESTIONS,
            # Cyclopts would show the names of the members.
            name_transform=str.lower,
            help="Rule that makes one result of a row's pairs; default: topics for a set of hypotheses, summac_zs "
            "with a split.",
        ),
        Mark.RARE,
    ] = None
    publish: Annotated[
        Publish | None,
        Parameter(
            group=QUESTIONS,
            help="Tables to publish: `scores` with one row for each input row, `pairs`, or `both`; default: scores.",
        ),
        Mark.RARE,
    ] = None
    top_k: Annotated[
        Count | None,
        Parameter(
            group=QUESTIONS,
            help=f"Hypotheses in `top`, for the rules topics and topics_multi; default: {DEFAULT_TOP_K}.",
        ),
        Mark.RARE,
    ] = None

    @model_validator(mode="after")
    def _questions_agree(self) -> Self:
        if (problem := next(self._disagreements(), None)) is not None:
            raise ValueError(problem)
        return self

    @property
    def has_set(self) -> bool:
        """Whether each premise is paired with a set of hypotheses, so that the input needs none."""
        return self.hypotheses is not None or bool(self.candidates)

    @property
    def splits(self) -> bool:
        """Whether a text is split into sentences."""
        return self.split_premise is not None or self.split_hypothesis is not None

    @property
    def expands(self) -> bool:
        """Whether a row becomes several pairs."""
        return self.has_set or self.splits

    @property
    def fold_rule(self) -> FoldRule | None:
        """The rule that makes one result of a row's pairs; None where each row is one pair."""
        if self.fold is not None or not self.expands:
            return self.fold
        return FoldRule.SUMMAC_ZS if self.splits else FoldRule.TOPICS

    @property
    def published_tables(self) -> Publish:
        """The tables that the run publishes, where a row becomes several pairs."""
        return self.publish or "scores"

    @property
    def candidate_texts(self) -> tuple[str, ...]:
        """The hypothesis of each candidate."""
        template = self.hypothesis_template or DEFAULT_TEMPLATE
        return tuple(template.replace(PLACEHOLDER, name) for name in self.candidates)

    @property
    def expansion_names(self) -> frozenset[str]:
        """The names of columns that runs with a set or a split have: in their output, and between their steps."""
        return _EXPANSION_NAMES if self.expands else frozenset()

    def _disagreements(self) -> Iterator[str]:
        """A line for each setting that does not fit the others, with what to give instead."""
        if self.hypotheses is not None and self.candidates:
            yield "hypotheses: candidates are a set of hypotheses too; give --hypotheses or --candidates"
        if self.split_hypothesis is not None and self.has_set:
            yield "split_hypothesis: hypotheses of a set are not split; leave out --split-hypothesis"
        for name in _OF_SEVERAL_PAIRS:
            if getattr(self, name) is not None and not self.expands:
                remedy = "give --hypotheses, --candidates, --split-premise or --split-hypothesis too"
                yield f"{name}: each row is one pair without a set of hypotheses or a split; {remedy}"
        if self.hypothesis_template is not None and not self.candidates:
            yield "hypothesis_template: it is for the names in candidates; give --candidates, or leave it out"
        yield from self._disagreements_with_rule()

    def _disagreements_with_rule(self) -> Iterator[str]:
        rule = self.fold_rule
        if rule is None:
            return
        if rule.ranks_hypotheses and not self.has_set:
            yield f"fold: {rule} ranks the hypotheses of a set; give --hypotheses or --candidates, or another --fold"
        if rule.ranks_hypotheses and self.splits:
            yield f"fold: {rule} takes whole premises; leave out {self._split_flags}, or give --fold {CHOOSING}"
        if rule is FoldRule.SUMMAC_ZS and self.has_set:
            why = "summac_zs, the rule for a split, takes the hypothesis of each row, and this run has a set"
            yield f"fold: {why}; give --fold {CHOOSING}"
        if rule is FoldRule.SUMMAC_ZS and not self.splits:
            remedy = "give --split-premise sentences, --split-hypothesis sentences, or both"
            yield f"fold: summac_zs compares sentences, and no text is split; {remedy}"
        if rule is FoldRule.TOPICS and len(self.candidates) == 1:
            why = "topics shares 1 among the candidates, and a softmax over one candidate is always 1"
            yield f"candidates: {why}; give two or more, or --fold topics_multi"
        if self.top_k is not None and not rule.ranks_hypotheses:
            yield f"top_k: {rule} ranks no hypotheses; leave out --top-k, or give --fold topics or topics_multi"

    @property
    def _split_flags(self) -> str:
        names = [name for name in ("split_premise", "split_hypothesis") if getattr(self, name) is not None]
        return " and ".join(map(flag_of, names))


def expansion_of(settings: ManyQuestions, hypotheses: HypothesisSet | None) -> Expansion | None:
    """How a row becomes several pairs, with the set that the settings name; None where each row is one pair."""
    rule = settings.fold_rule
    if rule is None:
        return None
    return Expansion(
        fold=rule,
        publish=settings.published_tables,
        hypotheses=hypotheses,
        split_premise=settings.split_premise is not None,
        split_hypothesis=settings.split_hypothesis is not None,
        top_k=settings.top_k or DEFAULT_TOP_K,
    )
