"""`Labeler` takes pairs in the forms that people hold them in, keeps every row, and refuses what are no pairs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from checkpoints import random_checkpoint
from pairs import bytes_column, wordpiece

from albert_infer import Labeler
from albert_infer.errors import InputError, SettingsError
from albert_infer.schema import LABEL, N_TOKENS, PROBABILITIES, REJECTION, NliLabel, Rejection

PAIRS = [("a man", "a"), ("the dog", "b")]
COLUMNS = {"premise": ["a man", "the dog"], "hypothesis": ["a", "b"]}
CATEGORICAL = pa.dictionary(pa.uint32(), pa.large_string())


def dictionary_of_views(texts: list[str]) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array([0, 1], pa.uint32()), pa.array(texts, pa.string_view()))


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    saved = random_checkpoint(tmp_path_factory.mktemp("checkpoint"), id2label=dict(enumerate(NliLabel)))
    (saved.folder / "tokenizer.json").write_text(wordpiece().to_str())
    return saved.folder


@pytest.fixture(scope="module")
def labeler(folder: Path) -> Labeler:
    return Labeler(str(folder))


def test_the_built_in_checkpoint_is_the_default() -> None:
    labelled = Labeler().label([("A man plays the guitar.", "Someone makes music.")])
    assert labelled[LABEL].to_pylist() == [NliLabel.ENTAILMENT]


@pytest.mark.parametrize(
    "pairs",
    [
        [[*pair] for pair in PAIRS],
        iter(PAIRS),
        zip(*COLUMNS.values(), strict=True),
        pa.table(COLUMNS),
        pa.table({name: pa.array(texts, pa.large_string()) for name, texts in COLUMNS.items()}),
        pa.table({name: pa.array(texts).dictionary_encode() for name, texts in COLUMNS.items()}),
        # What Polars gives for texts and for its Categorical.
        pa.table({name: pa.array(texts, pa.string_view()) for name, texts in COLUMNS.items()}),
        pa.table({name: pa.array(texts).cast(CATEGORICAL) for name, texts in COLUMNS.items()}),
        pa.table({name: dictionary_of_views(texts) for name, texts in COLUMNS.items()}),
        pa.table({name: pc.run_end_encode(pa.array(texts)) for name, texts in COLUMNS.items()}),
        pa.table({name: pa.chunked_array([[text] for text in texts]) for name, texts in COLUMNS.items()}),
        pa.record_batch(COLUMNS),
        pd.DataFrame(COLUMNS),
    ],
)
def test_pairs_may_be_tuples_lists_or_any_table(labeler: Labeler, pairs: Any) -> None:
    expected, labelled = labeler.label(PAIRS), labeler.label(pairs)
    assert labelled.select(labeler.added_columns).equals(expected.select(labeler.added_columns))
    assert labelled.column_names == ["premise", "hypothesis", *labeler.added_columns]


def test_a_table_keeps_its_columns_and_a_frame_its_index(labeler: Labeler) -> None:
    frame = pd.DataFrame({"genre": [7, 8], **COLUMNS}, index=["x", "y"])
    labelled = labeler.label(frame).to_pandas()
    pd.testing.assert_frame_equal(labelled[["genre", "premise", "hypothesis"]], frame)
    assert labelled[LABEL].tolist() == labeler.label(PAIRS)[LABEL].to_pylist()


def test_no_pairs_have_no_labels(labeler: Labeler) -> None:
    empty = labeler.label([])
    assert empty.num_rows == 0
    assert empty.schema.equals(labeler.label(PAIRS).schema)


def test_pairs_that_are_all_rejected_have_no_labels_but_their_reasons(labeler: Labeler) -> None:
    labelled = labeler.label([(None, "a"), (" ", "b")])
    assert labelled[REJECTION].to_pylist() == [Rejection.NULL_TEXT, Rejection.EMPTY_TEXT]
    assert labelled.select([LABEL, *PROBABILITIES]).to_pylist() == [dict.fromkeys([LABEL, *PROBABILITIES])] * 2
    assert labelled[N_TOKENS].to_pylist() == [0, 0]
    assert labelled["premise"].to_pylist() == [None, " "]


def test_a_column_of_nothing_is_rejected_row_by_row(labeler: Labeler) -> None:
    labelled = labeler.label(pa.table({"premise": pa.nulls(2), "hypothesis": ["a", "b"]}))
    assert labelled[REJECTION].to_pylist() == [Rejection.NULL_TEXT] * 2


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()])
def test_bad_utf8_is_rejected_and_not_raised(labeler: Labeler, kind: pa.DataType) -> None:
    premises = bytes_column([b"a man", b"\xff"]).cast(kind)
    labelled = labeler.label(pa.table({"premise": premises, "hypothesis": ["a", "b"]}))
    assert labelled[REJECTION].to_pylist() == [None, Rejection.BAD_UTF8]


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (["ab"], "item 0 is 'ab'"),
        ([("a", "b"), ("a", "b", "c")], "item 1 is"),
        ([("a", 3)], "of type int"),
        ([("a", float("nan"))], "of type float"),
        ([7], "item 0 is 7"),
        (pa.table({"premise": ["a"]}), "one column hypothesis"),
        (pa.table([["a"], ["b"], ["c"]], names=["premise", "hypothesis", "premise"]), "one column premise: 2 among"),
        (pa.table({"premise": ["a"], "hypothesis": [3]}), "found int64"),
        (pa.table({"premise": ["a"], "hypothesis": ["b"], "label": ["c"]}), "columns label are there"),
    ],
)
def test_what_are_no_pairs_is_refused(labeler: Labeler, pairs: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        labeler.label(pairs)


def test_a_review_may_be_asked_for_and_has_its_column_beside_the_jobs(labeler: Labeler, folder: Path) -> None:
    given = [*PAIRS, (None, "a")]
    reviewed, expected = Labeler(str(folder), review_below=1).label(given), labeler.label(given)
    names = list(labeler.added_columns)
    place = names.index("truncated") + 1
    assert reviewed.column_names[2:] == [*names[:place], "needs_review", *names[place:]]
    assert reviewed["needs_review"].to_pylist() == [True, True, None]
    assert reviewed.drop_columns(["needs_review"]).equals(expected)
    with pytest.raises(InputError, match="columns needs_review are there"):
        Labeler(str(folder), review_below=1).label(reviewed.select(["premise", "hypothesis", "needs_review"]))
    kept = labeler.label(pa.table({**COLUMNS, "needs_review": ["mine", "mine"]}))
    assert kept["needs_review"].to_pylist() == ["mine", "mine"], "it is ours only where it is asked for"


@pytest.mark.parametrize("share", [70, -0.1, float("nan")])
def test_a_limit_that_is_no_probability_is_refused(folder: Path, share: float) -> None:
    with pytest.raises(SettingsError, match="from 0 to 1"):
        Labeler(str(folder), review_below=share)


def test_importing_the_package_loads_nothing_heavy() -> None:
    script = "import sys, albert_infer; print(*{'numpy', 'pyarrow', 'torch', 'ray'} & sys.modules.keys())"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "\n"
