"""The settings of runs that ask many questions of one text: what they mean together, and which are refused."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from pydantic import ValidationError

from albert_infer.config import LabelSettings, NightlySettings, PlanSettings, expansion_of, parse_settings
from albert_infer.errors import SettingsError
from albert_infer.operations.nightly import night_settings
from albert_infer.schema import THREE_LABELS, Expansion, FoldRule, HypothesisSet

REQUIRED = ("--input", "in", "--output", "out")
TWO = {"candidates": ("a", "b")}
FILE = {"hypotheses": "topics.csv"}
SENTENCES = {"split_premise": "sentences"}


def settings(**given: Any) -> LabelSettings:
    return LabelSettings(input="in", output="out", **given)


def parsed(*argv: str) -> LabelSettings:
    found = parse_settings(LabelSettings, [*REQUIRED, *argv], program="label", about="Label.")
    assert found is not None
    return found


def refusal(*argv: str) -> str:
    with pytest.raises(SettingsError) as refused:
        parsed(*argv)
    assert refused.value.exit_code == 2
    line = str(refused.value)
    assert "\n" not in line
    return line


def test_a_run_without_these_settings_is_as_before() -> None:
    plain = settings()
    assert (plain.expands, plain.has_set, plain.fold_rule, plain.published_tables) == (False, False, None, "scores")
    assert plain.expansion_names == frozenset()
    assert expansion_of(plain, None) is None


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        (TWO, FoldRule.TOPICS),
        (FILE, FoldRule.TOPICS),
        (SENTENCES, FoldRule.SUMMAC_ZS),
        ({"split_hypothesis": "sentences"}, FoldRule.SUMMAC_ZS),
        ({**SENTENCES, "split_hypothesis": "sentences"}, FoldRule.SUMMAC_ZS),
        ({**SENTENCES, "fold": "any_entailment"}, FoldRule.ANY_ENTAILMENT),
        ({"candidates": ("a",), "fold": "topics_multi"}, FoldRule.TOPICS_MULTI),
        ({**FILE, "fold": "entailment_first"}, FoldRule.ENTAILMENT_FIRST),
        ({**TWO, **SENTENCES, "fold": "any_contradiction"}, FoldRule.ANY_CONTRADICTION),
    ],
)
def test_the_rule_is_the_given_one_or_that_of_the_set_or_the_split(given: dict[str, Any], rule: FoldRule) -> None:
    found = settings(**given)
    assert found.expands
    assert found.fold_rule is rule


NEEDS_PAIRS = "each row is one pair without a set of hypotheses or a split; give --hypotheses, --candidates, --split-"


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        ("--fold topics", f"fold: {NEEDS_PAIRS}"),
        ("--fold any_entailment", f"fold: {NEEDS_PAIRS}"),
        ("--publish both", f"publish: {NEEDS_PAIRS}"),
        ("--top-k 3", f"top_k: {NEEDS_PAIRS}"),
        ("--hypothesis-template x{}", f"hypothesis_template: {NEEDS_PAIRS}"),
        ("--candidates a,b --hypotheses x.csv", "give --hypotheses or --candidates"),
        ("--hypotheses x.csv --hypothesis-template x{}", "it is for the names in candidates; give --candidates, or"),
        ("--candidates a,b --split-hypothesis sentences", "leave out --split-hypothesis"),
        ("--split-premise sentences --fold topics", "fold: topics ranks the hypotheses of a set; give --hypotheses or"),
        ("--split-premise sentences --fold topics_multi", "fold: topics_multi ranks the hypotheses of a set"),
        ("--candidates a,b --split-premise sentences --fold topics", "takes whole premises; leave out --split-premise"),
        ("--candidates a,b --split-premise sentences", "this run has a set; give --fold any_entailment, any_contradic"),
        ("--candidates a,b --fold summac_zs", "this run has a set; give --fold any_entailment"),
        ("--candidates a", "a softmax over one candidate is always 1; give two or more, or --fold topics_multi"),
        ("--split-premise sentences --top-k 3", "top_k: summac_zs ranks no hypotheses; leave out --top-k, or give"),
        ("--candidates a,b --fold any_entailment --top-k 3", "top_k: any_entailment ranks no hypotheses"),
        ("--split-premise sentences --review-below 0.7", "review_below: summac_zs gives a score, and no label"),
        ("--candidates a,b --hypothesis-column h", "no column of the input is read for them; leave out --hypothesis-c"),
        ("--candidates a,b --top-k 0", "--top-k"),
        ("--candidates a,b --fold best", "--fold Input should be 'topics', 'topics_multi'"),
        ("--candidates a,b --publish none", "--publish Input should be 'pairs', 'scores' or 'both'"),
        ("--split-premise words", "--split-premise Input should be 'sentences'"),
        ("--hypotheses gs://b/x.csv", "--hypotheses gs://…: only local paths and s3:// are read"),
    ],
)
def test_settings_that_do_not_fit_are_refused_with_what_to_give(argv: str, line: str) -> None:
    assert line in refusal(*argv.split())


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["a,,b"], "a candidate is blank"),
        ([" , a"], "a candidate is blank"),
        ([""], "a candidate is blank"),
        (["a, b ,a"], "`a` is there twice; give each candidate once"),
        (
            ['"a, b",c'],
            "a quote or a backslash does not keep a comma; write candidates that have a comma to a file, and",
        ),
        (["a\\, b"], "a quote or a backslash does not keep a comma"),
        (["a,b", "c"], "one of several values has a comma; give one list, as a,b, or write candidates that have a com"),
        (["a", "\udcff"], "a candidate is not UTF-8"),
    ],
)
def test_candidates_that_cannot_be_told_apart_are_refused(words: list[str], line: str) -> None:
    told = refusal(*[f"--candidates={word}" for word in words])
    assert f"--candidates {line}" in told
    assert ("--hypotheses FILE" in told) == ("twice" not in told and "UTF-8" not in told)


@pytest.mark.parametrize(
    "argv", [("--candidates", " a b , c "), ("--candidates", "a b", "--candidates", "c"), ("--candidates=a b,c",)]
)
def test_candidates_are_one_list_or_several_flags(argv: tuple[str, ...]) -> None:
    assert parsed(*argv).candidates == ("a b", "c")


def test_a_variable_with_candidates_is_split_at_commas_and_not_at_spaces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALBERT_INFER_CANDIDATES", "new laws, '90s music")
    assert parsed().candidates == ("new laws", "'90s music")


def test_a_template_makes_the_hypotheses_of_candidates() -> None:
    assert settings(**TWO).candidate_texts == ("This text is about a.", "This text is about b.")
    given = settings(**TWO, hypothesis_template="Es geht um {}, %s.")
    assert given.candidate_texts == ("Es geht um a, %s.", "Es geht um b, %s.")


@pytest.mark.parametrize("template", ["", "about", "{} {}", "{0}", "{topic}", "{{}}", "{} }", "{ }", "{!r}"])
def test_a_template_has_one_place_for_the_candidate(template: str) -> None:
    told = refusal("--candidates", "a,b", f"--hypothesis-template={template}")
    assert "--hypothesis-template expected one {} for the candidate, and no other braces, as `This text is" in told


def test_a_set_needs_no_column_of_hypotheses() -> None:
    assert settings(**TWO, premise_column="hypothesis").premise_column == "hypothesis"
    with pytest.raises(ValidationError, match="premise_column, id_column must be different columns"):
        settings(**TWO, premise_column="x", id_column="x")
    # A gold set has pairs.
    assert settings(**TWO, gold="g", hypothesis_column="h").hypothesis_column == "h"
    with pytest.raises(ValidationError, match="premise_column, hypothesis_column, id_column must be different"):
        settings(**TWO, gold="g", premise_column="hypothesis")


@pytest.mark.parametrize(
    "given",
    [TWO, {**TWO, "publish": "pairs"}, SENTENCES, {**SENTENCES, "publish": "both"}, {**FILE, "fold": "any_entailment"}],
)
def test_the_columns_of_runs_with_several_pairs_cannot_be_carried(given: dict[str, Any]) -> None:
    """Not even those that this run does not write: its steps and its readers know tables by them."""
    both = Expansion(FoldRule.TOPICS, publish="both", hypotheses=HypothesisSet((), ()), split_premise=True)
    split = Expansion(FoldRule.SUMMAC_ZS, split_hypothesis=True)
    fields = [*both.pair_fields, *both.result_fields(THREE_LABELS), *split.pair_fields, *split.index_fields]
    names = {field.name for field in fields} | {"needs_review", "n_windows"}
    assert names | {"_premise_parts", "_pairs"} <= settings(**given).reserved_names
    for name in names:
        with pytest.raises(ValidationError, match=f"carry: `{name}` is the name of an output column"):
            settings(**given, carry=(name,))
    assert settings(carry=("score", "n_pairs", "best")).carry == ("score", "n_pairs", "best")


def test_an_expansion_has_all_that_the_settings_say() -> None:
    pair = HypothesisSet(("a", "b"), ("A.", "B."))
    assert expansion_of(settings(**TWO), pair) == Expansion(FoldRule.TOPICS, hypotheses=pair)
    given = settings(**FILE, fold="topics_multi", publish="both", top_k=2)
    assert expansion_of(given, pair) == Expansion(FoldRule.TOPICS_MULTI, publish="both", hypotheses=pair, top_k=2)
    given = settings(split_premise="sentences", split_hypothesis="sentences", publish="pairs")
    made = Expansion(FoldRule.SUMMAC_ZS, publish="pairs", split_premise=True, split_hypothesis=True)
    assert expansion_of(given, None) == made


def test_nights_and_plans_hand_these_settings_on() -> None:
    more: dict[str, Any] = {"candidates": ("a", "b"), "publish": "both", "top_k": 1}
    nights = NightlySettings(input_root="in", output_root="out", date=date(2026, 11, 21), **more)
    plan = PlanSettings(input="in", output="out", **more)
    for given in (night_settings(nights, nights.nights[0]), plan.label_settings):
        assert (given.candidates, given.fold_rule, given.published_tables) == (("a", "b"), FoldRule.TOPICS, "both")
