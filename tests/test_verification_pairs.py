"""A recount of runs whose rows become several pairs: right runs pass, and damage of rows and pairs is found."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from checkpoints import two_label_checkpoint
from hypothesis import given
from hypothesis import strategies as st
from job_runs import WORDS, run_inline, write_pairs
from pairs import PROPERTY
from published_runs import PublishedRun, put, put_column, rewrite, swap_first_rows, take
from test_verification import Damage, added, dropped, findings, part, told, verified

from albert_infer.classify import folds
from albert_infer.schema import FoldRule, RowPairs
from albert_infer.verification.columns import LABELS, TWO_LABELS, OutputColumns
from albert_infer.verification.expansion import Expansion, sha256_of
from albert_infer.verification.pairs import PairText, UnitPairs
from albert_infer.verification.refolding import chosen_pairs, consistencies

SET: Final = ("--candidates", "w1 w2,w3,w4 w5,w6", "--hypothesis-template", "W1 {}")
ONE_SPLIT: Final = ("--split-premise", "sentences")
SPLIT: Final = (*ONE_SPLIT, "--split-hypothesis", "sentences")
REVIEW: Final = ("--review-below", 0.45)
# Each rule with a set, with a split, or with both. One ranking has fewer entries than the set, the other has all.
RUNS: Final[dict[str, tuple[object, ...]]] = {
    "topics": (*SET, "--top-k", 3, *REVIEW),
    "topics_multi": (*SET, "--fold", "topics_multi", "--carry-source"),
    "summac_zs": (*SPLIT, "--carry-source"),
    "any_entailment": (*SET, "--fold", "any_entailment", *REVIEW),
    "any_contradiction": (*SET, *ONE_SPLIT, "--fold", "any_contradiction", "--carry-source"),
    "entailment_first": (*SPLIT, "--fold", "entailment_first", *REVIEW),
}
WINDOWS: Final = ("--long-premise", "window")
ROWS: Final = 30
Change = Callable[[pa.Table], pa.Table]
Runs = Callable[..., PublishedRun]


def texts(rows: int, *, seed: int) -> pa.Table:
    """Texts of one to four sentences, some with characters of several bytes; rows 3, 20 and 24 to 29 lack a premise."""
    generator = np.random.default_rng(seed)

    def sentence() -> str:
        words = generator.choice(WORDS, generator.integers(1, 9))
        return f"W{generator.integers(9)} é🙂 {' '.join(words)}."

    def text() -> str:
        return "  ".join(sentence() for _ in range(generator.integers(1, 5))) + " "

    premises: list[str | None] = [text() for _ in range(rows)]
    premises[0] = " ".join(WORDS[:60])
    premises[3], premises[20], premises[24:] = None, " ", [None] * (rows - 24)
    return pa.table(
        {
            "pair_id": [f"row {row}" for row in range(rows)],
            "premise": pa.array(premises, pa.string()),
            "hypothesis": [text() for _ in range(rows)],
            "theme": pa.array([row % 5 for row in range(rows)], pa.int16()),
        }
    )


@pytest.fixture(scope="module")
def runs(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Give the published run of a rule and of a table or both: 22 labelled rows of 30, in several units."""
    done: dict[tuple[object, ...], PublishedRun] = {}
    source = tmp_path_factory.mktemp("source") / "in"
    write_pairs(source / "a.parquet", texts(ROWS, seed=1), group_rows=8)

    def run_of(rule: str, publish: str, *more: object, model: Path = checkpoint) -> PublishedRun:
        key = (rule, publish, *more, model)
        if key not in done:
            run = done[key] = PublishedRun(source, tmp_path_factory.mktemp("run") / "out")
            settings = (*RUNS[rule], *more, "--publish", publish, "--carry", "theme", "--max-rejected-share", 1)
            where = ("--input", source, "--output", run.output, "--model", model)
            outcome = run_inline(*where, "--unit-rows", 40, *settings)
            assert (outcome.exit_code, outcome.errors) == (0, []), outcome.stderr
        return done[key]

    return run_of


def pair_files(run: PublishedRun) -> list[Path]:
    """The files of `_pairs/`, in the order of the input."""
    return [run.output / entry["path"] for entry in run.manifest["pair_files"]]


def believe(run: PublishedRun) -> None:
    """Make the sizes, the digests and the rows of all files in `_SUCCESS` true, and no other count."""

    def change(manifest: Any) -> None:
        for entry in (*manifest["files"], *manifest["rejected_files"], *manifest["pair_files"]):
            path = run.output / entry["path"]
            if path.exists():
                data, rows = path.read_bytes(), pq.read_metadata(path).num_rows
                entry |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(), "rows": rows}

    run.tell(change)


# --- what is right


@pytest.mark.parametrize("publish", ["scores", "pairs", "both"])
@pytest.mark.parametrize("rule", RUNS)
def test_an_undamaged_run_of_any_rule_passes(runs: Runs, rule: str, publish: str) -> None:
    run = runs(rule, publish)
    manifest = run.manifest
    where = ", which are not published" if publish == "scores" else f" in {len(manifest['files'])} file"
    for with_input in (False, True):
        outcome = verified(run, with_input=with_input)
        assert findings(outcome) == []
        assert f"22 rows in {len(manifest['files'])} file" in outcome.stdout
        assert f"pairs        {manifest['pairs']:,}{where}" in outcome.stdout
    assert manifest["pairs"] > 22


@pytest.mark.parametrize(("rule", "publish"), [*product(["topics", "entailment_first"], ["scores", "pairs", "both"])])
def test_an_undamaged_run_with_windows_passes(runs: Runs, rule: str, publish: str) -> None:
    run = runs(rule, publish, *WINDOWS)
    assert findings(verified(run, with_input=True)) == []
    assert run.manifest["windowed"] in (1, 2), "a row of several pairs is in several windows only if one of them is"


@pytest.mark.computes
def test_undamaged_runs_with_two_labels_pass(runs: Runs, checkpoint: Path, tmp_path: Path) -> None:
    model = two_label_checkpoint(tmp_path / "two", base=checkpoint)
    for rule in RUNS.keys() - {"any_contradiction"}:
        for publish in ("both", "pairs"):
            assert findings(verified(runs(rule, publish, model=model), with_input=True)) == []


def made_up_unit(parts: list[tuple[int, int]], probabilities: Any) -> UnitPairs:
    """Pairs of rows with these numbers of premise parts and hypotheses."""
    indices = [(part, own) for premises, hypotheses in parts for own in range(hypotheses) for part in range(premises)]
    premise, hypothesis = np.array(indices, np.int64).T
    none, total = np.empty(0, np.int64), len(indices)
    return UnitPairs(
        premise=PairText(premise, none, none, none),
        hypothesis=PairText(hypothesis, none, none, none),
        texts=[],
        label_P=probabilities.argmax(axis=1),
        probability_PL=probabilities,
        score_P=np.empty(0, np.float32),
        tokens_P=none,
        truncated_P=np.zeros(total, np.bool_),
        windows_P=np.ones(total, np.int64),
        is_first_P=(premise == 0) & (hypothesis == 0),
    )


SENTENCES: Final = {"publish": "both", "split_premise": "sentences", "splitter": "x 1"}


@PROPERTY
@given(
    st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=6),
    st.integers(0, 2**32 - 1),
    st.sampled_from([LABELS, TWO_LABELS]),
)
def test_both_codes_of_the_rules_agree_also_where_probabilities_are_equal(
    parts: list[tuple[int, int]], seed: int, labels: tuple[str, ...]
) -> None:
    total = sum(premises * hypotheses for premises, hypotheses in parts)
    weights = np.random.default_rng(seed).integers(1, 4, (total, len(labels))).astype(np.float32)
    probabilities = weights / weights.sum(axis=1, keepdims=True)
    rows = RowPairs(*(np.array(counts, np.int64) for counts in zip(*parts, strict=True)))
    pairs = made_up_unit(parts, probabilities)
    assert pairs.row_P.tolist() == rows.rows_P.tolist()
    for rule in (FoldRule.ANY_ENTAILMENT, FoldRule.ANY_CONTRADICTION, FoldRule.ENTAILMENT_FIRST):
        if rule is FoldRule.ANY_CONTRADICTION and labels == TWO_LABELS:
            continue
        expansion = Expansion.model_validate({**SENTENCES, "fold": str(rule)})
        columns = OutputColumns((), with_source=False, max_tokens=9, labels=labels, expansion=expansion)
        expected = folds.chosen_pairs(rule, rows.rows_P, probabilities, labels)
        assert chosen_pairs(pairs, columns).tolist() == expected.tolist()
    columns = OutputColumns((), with_source=False, max_tokens=9, labels=labels)
    score, decides = consistencies(pairs, columns)
    expected_score, expected_decides = folds.consistency(rows, probabilities, labels)
    assert np.abs(score - expected_score).max() < 1e-6
    assert decides.tolist() == expected_decides.tolist()


# --- what is wrong


def in_pairs(number: int, *changes: Change) -> Callable[[PublishedRun], None]:
    """Change the rows of a file of pairs."""

    def changed(run: PublishedRun) -> None:
        for change in changes:
            rewrite(pair_files(run)[number], change)

    return changed


def cell(column: str, row: int, change: Callable[[Any], Any]) -> Change:
    """Change one value."""
    return put_column(column, lambda values: [*values[:row], change(values[row]), *values[row + 1 :]])


def swapped_entries(values: list[Any]) -> list[Any]:
    return [values[1], values[0], *values[2:]]


def another(known: list[str]) -> Callable[[Any], Any]:
    return lambda value: next(each for each in known if each != value)


IDS: Final = ["w1 w2", "w3", "w4 w5", "w6"]


def without(*rows: int) -> Change:
    return lambda table: table.take(pa.array([row for row in range(table.num_rows) if row not in rows], pa.int64()))


def moved(*columns: str) -> list[Change]:
    """Each number of the columns is one larger."""
    return [put_column(column, lambda numbers: [number + 1 for number in numbers]) for column in columns]


def swapped_pairs(one: int, other: int) -> Change:
    def change(table: pa.Table) -> pa.Table:
        rows = list(range(table.num_rows))
        rows[one], rows[other] = rows[other], rows[one]
        return table.take(pa.array(rows, pa.int64()))

    return change


def other_choice(run: PublishedRun) -> None:
    """Give the first row of several pairs the label and the probabilities of another of its pairs."""
    rows, pairs = pq.read_table(run.parts[0]), pq.read_table(pair_files(run)[0])
    first = 0
    names = ["label", "p_entailment", "p_neutral", "p_contradiction"]
    for row, count in enumerate(rows["n_pairs"].to_pylist()):
        for pair in pairs.slice(first, count).select(names).to_pylist():
            if pair["p_neutral"] != rows["p_neutral"][row].as_py():
                part(0, *(put(name, row, pair[name]) for name in names))(run)
                return
        first += count
    raise AssertionError


def moved_pair_files(run: PublishedRun) -> None:
    """The second file of pairs has the rows of the first one, and its own footer."""
    one, other = pair_files(run)[:2]
    rows = pq.read_table(one)
    rewrite(other, lambda own: rows.replace_schema_metadata(own.schema.metadata))


def other_hypotheses(plan: Any) -> None:
    plan["hypotheses"][1][1] = "W1 w9"


def other_hypotheses_and_digest(plan: Any) -> None:
    other_hypotheses(plan)
    pairs = tuple((each, text) for each, text in plan["hypotheses"])
    plan["recipe"]["expansion"]["hypotheses"] = sha256_of(pairs)


def less(value: Any) -> Any:
    return value - 0.01


def more_by(step: int) -> Callable[[Any], Any]:
    return lambda value: value + step


# Of runs with both tables: the rule of the run, and what happens to files that `_SUCCESS` then describes.
OF_BOTH: dict[str, tuple[str, Damage]] = {
    "another best": ("topics", Damage(part(0, cell("best", 1, another(IDS))), "the first entry of top as best")),
    "another best by its pairs": ("topics", Damage(part(0, cell("best", 1, another(IDS))), "of its pairs as best")),
    "a best that is unknown": ("topics", Damage(part(0, put("best", 1, "secret")), "the first entry of top as best")),
    "two entries of top swapped": ("topics", Damage(part(0, cell("top", 1, swapped_entries)), "top by the score of")),
    "two top_scores swapped": ("topics", Damage(part(0, cell("top_scores", 1, swapped_entries)), "scores that fall")),
    "an entry of top twice": ("topics", Damage(part(0, cell("top", 1, lambda top: [top[0]] * 3)), "different hyp")),
    "a shorter top": ("topics", Damage(part(0, cell("top", 1, lambda top: top[:2])), "top_scores with 3 entries")),
    "no top": ("topics", Damage(part(0, put("top", 1, None)), "a top in every row")),
    "a null in top": ("topics", Damage(part(0, cell("top", 1, lambda top: [None, *top[1:]])), "different hyp")),
    "another score": ("topics", Damage(part(0, cell("score", 1, less)), "the largest score of its pairs as score")),
    "another score without the list": ("topics", Damage(part(0, cell("score", 1, less)), "entry of top_scores as sc")),
    "small top_scores": (
        "topics",
        Damage(part(0, cell("top_scores", 1, lambda top: [each / 9 for each in top])), "shares that sum to 1"),
    ),
    "another share of a pair": ("topics", Damage(in_pairs(0, cell("score", 5, less)), "and their sum 1")),
    "another score of a pair": ("topics_multi", Damage(in_pairs(0, cell("score", 5, less)), "of its probabilities")),
    "a score of no pair": ("topics_multi", Damage(in_pairs(0, put("score", 5, None)), "a score in every row")),
    "a score above 1": ("topics_multi", Damage(in_pairs(0, put("score", 5, 1.5)), "a score from 0 to 1")),
    "another consistency": ("summac_zs", Damage(part(0, cell("score", 1, less)), "the score of summac_zs of its")),
    "a consistency above 1": ("summac_zs", Damage(part(0, put("score", 1, 1.5)), "a score from -1 to 1")),
    "another sentence that decides": (
        "summac_zs",
        Damage(part(0, put_column("hypothesis_sentence", lambda all_: [1 - min(each, 1) for each in all_])), "decides"),
    ),
    "a sentence that is none": ("summac_zs", Damage(part(0, put("premise_sentence", 1, 99)), "to below n_pairs")),
    "another pair chosen": ("any_entailment", Damage(other_choice, "of the pair that any_entailment chooses")),
    "another pair chosen of sentences": ("any_contradiction", Damage(other_choice, "that any_contradiction chooses")),
    "another pair chosen first": ("entailment_first", Damage(other_choice, "of the pair that entailment_first")),
    "another hypothesis chosen": (
        "any_entailment",
        Damage(part(0, cell("hypothesis_id", 1, another(IDS))), "the hypothesis_id of the pair that decides"),
    ),
    "an unknown hypothesis": (
        "any_entailment",
        Damage(part(0, put("hypothesis_id", 1, "secret")), "a hypothesis_id of the set"),
    ),
    "a label that is not the argmax": (
        "any_entailment",
        Damage(
            part(0, cell("label", 1, another(["entailment", "neutral"]))), "the label of the largest probability"
        ),
    ),
    "a review that is not needed": (
        "topics",
        Damage(part(0, put_column("needs_review", lambda x: [not y for y in x])), "where the score is below 0.45"),
    ),
    "a pair's review that is not needed": (
        "topics",
        Damage(in_pairs(0, put_column("needs_review", lambda x: [not y for y in x])), "where no probability is"),
    ),
    "a wrong n_pairs": ("topics", Damage(part(0, put("n_pairs", 1, 3)), "n_pairs of 4, one for each hypothesis")),
    "a wrong n_pairs of sentences": (
        "summac_zs",
        Damage(part(0, cell("n_pairs", 1, more_by(1))), "the n_pairs of its pairs"),
    ),
    "no pairs": ("summac_zs", Damage(part(0, put("n_pairs", 1, 0)), "n_pairs from 1 to 60000")),
    "odd pairs": ("any_contradiction", Damage(part(0, cell("n_pairs", 1, more_by(1))), "n_pairs that 4 divides")),
    "other tokens": ("topics", Damage(part(0, cell("n_tokens", 1, more_by(1))), "the n_tokens of its pairs")),
    "too many tokens": ("topics", Damage(part(0, put("n_tokens", 1, 161)), "n_tokens that its pairs can have")),
    "too few tokens": ("topics", Damage(part(0, put("n_tokens", 1, 3)), "n_tokens that its pairs can have")),
    "another truncated": ("topics", Damage(part(0, put("truncated", 0, False)), "the truncated of its pairs")),
    "a truncated row that is short": ("topics", Damage(part(0, put("truncated", 1, True)), "the truncated of its")),
    "a truncated pair that is short": (
        "topics",
        Damage(in_pairs(0, put("truncated", 5, True)), "n_tokens of 40 in a truncated pair"),
    ),
    "an infinite probability": (
        "topics_multi",
        Damage(in_pairs(0, *(put(f"p_{name}", 5, float("inf")) for name in LABELS)), "finite probabilities"),
    ),
    "infinite scores": ("topics", Damage(part(0, put("top_scores", 1, [float("inf")] * 3)), "top_scores from 0 to 1")),
    "another table": ("topics", Damage(part(0, lambda rows: rows.drop_columns(["top"])), "expected columns")),
    "scores of another type": (
        "topics",
        Damage(
            part(0, lambda rows: rows.set_column(4, "score", rows["score"].cast(pa.float64()))),
            "column score of type float; found double",
        ),
    ),
    "a missing pair": ("topics", Damage(in_pairs(0, without(6)), "all pairs of a row, one hypothesis after")),
    "a missing last pair": ("topics", Damage(in_pairs(0, without(7)), "all pairs of a row, one hypothesis after")),
    "a missing first pair": ("topics", Damage(in_pairs(0, without(0)), "all pairs of a row, one hypothesis after")),
    "a missing pair of sentences": ("entailment_first", Damage(in_pairs(0, without(3)), "_pairs/")),
    "all pairs of a row missing": ("topics", Damage(in_pairs(0, without(4, 5, 6, 7)), "expected pairs of rows")),
    "a row's pairs twice": (
        "topics",
        Damage(in_pairs(0, lambda rows: pa.concat_tables([rows.slice(0, 4), rows])), "expected pairs of rows"),
    ),
    "no pairs at all": ("topics", Damage(in_pairs(0, take()), "expected pairs of rows")),
    "pairs swapped": ("topics", Damage(in_pairs(0, swapped_pairs(5, 6)), "all pairs of a row, one hypothesis after")),
    "pairs of two rows swapped": ("topics", Damage(in_pairs(0, swapped_pairs(1, 5)), "pair_id of its row in every")),
    "pairs of two units swapped": (
        "topics",
        Damage(lambda run: swap_first_rows(*pair_files(run)[:2]), "the pair_id of its row in every pair"),
    ),
    "pairs of another unit": ("topics", Damage(moved_pair_files, "pairs of unit {1}: expected the file's row 0")),
    "the file of another unit": (
        "topics",
        Damage(lambda run: shutil.copy(*pair_files(run)[:2]), "expected a footer of unit {1}; found {0}"),
    ),
    "another hypothesis": ("topics", Damage(in_pairs(0, put("hypothesis", 5, "W1 w9")), "hypothesis of the set with")),
    "another hypothesis_id": (
        "topics",
        Damage(in_pairs(0, put("hypothesis_id", 5, "w6")), "all pairs of a row, one hypothesis after"),
    ),
    "another premise in a pair": ("topics", Damage(in_pairs(0, put("premise", 5, "W1")), "the same premise in all")),
    "another premise in all pairs": (
        "topics",
        Damage(in_pairs(0, *(put("premise", pair, "W1") for pair in range(4, 8))), "found another premise"),
    ),
    "another carried value in a pair": ("topics", Damage(in_pairs(0, put("theme", 5, 9)), "the theme of its row in")),
    "another id in all pairs": (
        "topics",
        Damage(in_pairs(0, *(put("pair_id", pair, "x") for pair in range(4, 8))), "found another pair_id"),
    ),
    "another source_row in a pair": (
        "topics_multi",
        Damage(in_pairs(0, put("source_row", 5, 9)), "the source_row of its row in every pair"),
    ),
    "a label of a pair that is not the argmax": (
        "topics",
        Damage(
            in_pairs(0, cell("label", 5, another(["entailment", "neutral"]))), "the label of the largest probability"
        ),
    ),
    "a start moved": ("summac_zs", Damage(in_pairs(0, cell("premise_start", 5, more_by(1))), "from its start to its")),
    "a sentence moved": (
        "summac_zs",
        Damage(
            in_pairs(
                0, *moved("premise_start", "premise_end")
            ),
            "the sentences of the premise of row 0 of",
        ),
    ),
    "a hypothesis moved": (
        "summac_zs",
        Damage(
            in_pairs(
                0,
                *moved("hypothesis_start", "hypothesis_end"),
            ),
            "the sentences of the hypothesis of row 0 of",
        ),
    ),
    "another sentence": (
        "summac_zs",
        Damage(in_pairs(0, cell("hypothesis", 5, lambda text: "X" * len(text))), "same hypothesis in all pairs of its"),
    ),
    "a sentence with another index": (
        "summac_zs",
        Damage(in_pairs(0, cell("hypothesis_sentence", 5, more_by(1))), "all pairs of a row, one hypothesis after"),
    ),
    "a deleted file of pairs": ("topics", Damage(lambda run: pair_files(run)[1].unlink(), "_pairs/{part1}: expected")),
}  # fmt: skip


def damaged(run: PublishedRun, damage: Damage, folder: Path, *, believed: bool) -> list[str]:
    """What is found in a damaged copy of the run, without the input and with it; the damage is named both times."""
    run = run.copied(folder)
    entries = run.manifest["files"]
    named = damage.named.format(
        *(entry["unit_id"] for entry in entries),
        **{f"part{place}": entry["path"] for place, entry in enumerate(entries)},
    )
    damage.do(run)
    if believed:
        believe(run)
    told_of = []
    for with_input in (False, True):
        outcome = verified(run, with_input=with_input)
        found = findings(outcome)
        assert "secret" not in outcome.stdout + outcome.stderr
        if damage.input_only and not with_input:
            assert not [line for line in found if named in line]
        else:
            assert [line for line in found if named in line], (named, found)
        told_of += found
    return told_of


@pytest.mark.parametrize("case", OF_BOTH)
def test_damage_of_rows_or_of_their_pairs_is_found(runs: Runs, tmp_path: Path, case: str) -> None:
    rule, damage = OF_BOTH[case]
    damaged(runs(rule, "both"), damage, tmp_path, believed=True)


# Of runs that publish pairs alone.
OF_PAIRS: dict[str, tuple[str, Damage]] = {
    "a missing pair": ("topics", Damage(part(0, without(6)), "all pairs of a row, one hypothesis after")),
    "all pairs of a row missing": ("topics", Damage(part(0, without(4, 5, 6, 7)), "rows; found ")),
    "a last sentence missing": (
        "entailment_first",
        Damage(
            part(
                0,
                lambda rows: rows.filter(
                    pa.array([each == 0 for each in rows["hypothesis_sentence"].to_pylist()], pa.bool_())
                ),
            ),
            "the sentences of the hypothesis of row",
            input_only=True,
        ),
    ),
    "another premise in all pairs": (
        "topics",
        Damage(part(0, *(put("premise", pair, "W1") for pair in range(4, 8))), "another premise", input_only=True),
    ),
    "a row in place of another": (
        "topics",
        Damage(part(0, take(*range(4), *range(4), *range(8, 28))), "another pair_id", input_only=True),
    ),
    "two rows swapped": (
        "any_contradiction",
        Damage(
            part(0, lambda rows: pa.concat_tables([rows.slice(4, 4), rows.slice(0, 4), rows.slice(8)])),
            "source_row above that of the row before",
        ),
    ),
    "another carried value": (
        "topics",
        Damage(part(0, *(put("theme", pair, 9) for pair in range(4, 8))), "another theme", input_only=True),
    ),
    "a sentence moved": (
        "entailment_first",
        Damage(
            part(
                0, *moved("premise_start", "premise_end")
            ),
            "the sentences of the premise of row 0 of",
            input_only=True,
        ),
    ),
    "sentences that overlap": (
        "entailment_first",
        Damage(part(0, put_column("premise_start", lambda all_: [0 for _ in all_])), "after the sentence before"),
    ),
    "another share of a pair": ("topics", Damage(part(0, cell("score", 5, less)), "and their sum 1")),
}  # fmt: skip


@pytest.mark.parametrize("case", OF_PAIRS)
def test_damage_of_pairs_without_scores_is_found(runs: Runs, tmp_path: Path, case: str) -> None:
    rule, damage = OF_PAIRS[case]
    damaged(runs(rule, "pairs"), damage, tmp_path, believed=True)


def told_of_pairs(value: int) -> Callable[[PublishedRun], None]:
    return told("files.0.summary.pairs", value)


# What `_SUCCESS`, the plan or the folder says, of files that are as they were.
TOLD: dict[str, Damage] = {
    "more pairs": Damage(told("pairs", 1), "expected pairs "),
    "more pairs of a unit": Damage(told_of_pairs(1), "the summary of {part0} in _SUCCESS: expected pairs "),
    "labels of another number": Damage(told("labels", {"w3": 1}), "expected labels "),
    "more rows of a file of pairs": Damage(told("pair_files.0.rows", 1), "_pairs/{part0}: expected rows "),
    "a file of pairs is missing": Damage(dropped("pair_files"), "unit {0}: expected 1 file of pairs"),
    "a file of pairs twice": Damage(
        lambda run: run.tell(lambda manifest: manifest["pair_files"].append(manifest["pair_files"][0])),
        "unit {0}: expected 1 file of pairs in _SUCCESS; found 2",
    ),
    "a file of pairs with another name": Damage(
        told("pair_files.0.path", "part-x.parquet"), "a path in _pairs/ after row 0"
    ),
    "files of pairs in another order": Damage(
        lambda run: run.tell(lambda manifest: manifest["pair_files"].reverse()), "files in the order of the input"
    ),
    "foreign pairs": Damage(added("_pairs/part-00000000000000ff.parquet"), "_pairs/part-00000000000000ff.parquet"),
    "another hypothesis of the plan": Damage(lambda run: run.plan(other_hypotheses), "the sha256 of hypotheses"),
    "another hypothesis and its digest": Damage(
        lambda run: run.plan(other_hypotheses_and_digest), "the hypothesis of the set with its id"
    ),
    "a hypothesis twice": Damage(
        lambda run: run.plan(lambda plan: plan["hypotheses"].append(plan["hypotheses"][0])), "the hypothesis w1 w2 once"
    ),
    "no hypotheses": Damage(lambda run: run.plan(lambda plan: plan.pop("hypotheses")), "only a plan with a set"),
    "another fold": Damage(
        lambda run: run.plan(lambda plan: plan["recipe"]["expansion"].update(fold="summac_zs")), "summac_zs has no set"
    ),
    "no table of pairs": Damage(
        lambda run: run.plan(lambda plan: plan["recipe"]["expansion"].update(publish="scores")), "expected 0 files of"
    ),
    "pairs alone": Damage(
        lambda run: run.plan(lambda plan: plan["recipe"]["expansion"].update(publish="pairs")), "expected columns "
    ),
    "a key to come": Damage(
        lambda run: run.plan(lambda plan: plan["recipe"]["expansion"].update(more=1)), "recipe.expansion.more: "
    ),
    "no expansion": Damage(
        lambda run: run.plan(lambda plan: plan["recipe"].pop("expansion")), "recipe.columns must begin"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", TOLD)
def test_claims_about_pairs_that_are_not_true_are_found(runs: Runs, tmp_path: Path, case: str) -> None:
    damaged(runs("topics", "both"), TOLD[case], tmp_path, believed=False)


def test_an_expansion_that_no_run_has_is_refused() -> None:
    digest = "0" * 64
    right: list[dict[str, object]] = [
        {"fold": "topics", "publish": "both", "hypotheses": digest, "top_k": 5},
        {"fold": "summac_zs", "publish": "pairs", "split_premise": "sentences", "splitter": "x 1"},
        {"fold": "any_entailment", "publish": "scores", "hypotheses": digest},
    ]
    for claim in right:
        Expansion.model_validate_json(json.dumps(claim))
    wrong: list[dict[str, object]] = [
        {"fold": "topics", "publish": "both"},
        {"fold": "topics", "publish": "both", "hypotheses": digest},
        {"fold": "topics", "publish": "all", "hypotheses": digest, "top_k": 5},
        {**right[0], "hypotheses": "x"},
        {**right[0], "split_premise": "sentences", "splitter": "x 1"},
        {**right[1], "hypotheses": digest},
        {**right[1], "top_k": 5},
        {**right[1], "splitter": ""},
        {**right[2], "splitter": "x 1"},
        {**right[2], "split_hypothesis": "sentences", "splitter": "x 1"},
    ]
    for claim in wrong:
        with pytest.raises(ValueError, match="validation error"):
            Expansion.model_validate_json(json.dumps(claim))
