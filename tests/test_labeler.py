"""`Labeler` takes pairs in the forms that people hold them in, keeps every row, and refuses what are no pairs."""

from __future__ import annotations

import base64
import json
import os
import pty
import shutil
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from checkpoints import random_checkpoint
from pairs import bytes_column, wordpiece

from albert_infer import Labeler
from albert_infer.engine.devices import card_here, card_of, requested_device
from albert_infer.engine.processor import cpu_flags, resolved_precision
from albert_infer.errors import InputError, ModelError, SettingsError
from albert_infer.model.checkpoint_files import checkpoint_folder
from albert_infer.schema import (
    DETAIL,
    LABEL,
    N_TOKENS,
    PROBABILITIES,
    REJECTION,
    DeviceKind,
    NliLabel,
    Precision,
    Rejection,
)

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


@pytest.fixture(scope="module")
def misnamed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built-in checkpoint with the names of its outputs in the wrong order."""
    folder = tmp_path_factory.mktemp("misnamed")
    shutil.copytree(checkpoint_folder("builtin").uri, folder, dirs_exist_ok=True)
    config = json.loads((folder / "config.json").read_text())
    names = ["contradiction", "neutral", "entailment"]
    (folder / "config.json").write_text(json.dumps({**config, "id2label": dict(enumerate(names))}))
    return folder


@pytest.mark.computes
def test_a_wrong_label_order_is_refused_with_the_argument_that_mends_it(misnamed: Path) -> None:
    with pytest.raises(ModelError) as refused:
        Labeler(str(misnamed))
    assert refused.value.asked == f"model {misnamed} with label order contradiction,neutral,entailment"
    assert "easy test pairs get the right label" in refused.value.problem
    assert refused.value.remedy == 'give label_order="entailment,neutral,contradiction"'
    with pytest.raises(ModelError, match="give label_order="):
        Labeler(label_order=["neutral", "contradiction", "entailment"])


def test_a_labeler_prints_as_what_it_is(labeler: Labeler, folder: Path) -> None:
    assert repr(labeler) == f"Labeler('{folder}', precision='{labeler.precision}', device='{labeler.device}')"


@pytest.mark.computes
def test_an_order_that_is_given_overrules_wrong_names(misnamed: Path) -> None:
    mended = Labeler(str(misnamed), label_order=["entailment", "neutral", "contradiction"])
    assert mended.label([("A man plays the guitar.", "Someone makes music.")])[LABEL].to_pylist() == ["entailment"]


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


NANS = [float("nan")] * 2


@pytest.mark.parametrize(
    "pairs",
    [
        pd.DataFrame({"premise": NANS, "hypothesis": ["a", "b"]}),
        pd.DataFrame({"premise": pd.Series([None, None], dtype="Int64"), "hypothesis": ["a", "b"]}),
        pd.DataFrame({"premise": pd.Series([pd.NaT, pd.NaT]), "hypothesis": ["a", "b"]}),
        pa.table({"premise": NANS, "hypothesis": ["a", "b"]}),
        pa.table({"premise": pa.array([None, NANS[0]], pa.float32()), "hypothesis": ["a", "b"]}),
        pa.table({"premise": pa.nulls(2, pa.bool_()), "hypothesis": ["a", "b"]}),
    ],
    ids=["NaN", "NA", "NaT", "doubles", "floats", "nulls"],
)
def test_a_column_without_values_is_nulls_whatever_it_could_hold(labeler: Labeler, pairs: Any) -> None:
    labelled = labeler.label(pairs)
    assert labelled[DETAIL].to_pylist() == ["premise is null"] * 2
    assert labelled.column_names == ["premise", "hypothesis", *labeler.added_columns]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()])
def test_bad_utf8_is_rejected_and_not_raised(labeler: Labeler, kind: pa.DataType) -> None:
    premises = bytes_column([b"a man", b"\xff"]).cast(kind)
    labelled = labeler.label(pa.table({"premise": premises, "hypothesis": ["a", "b"]}))
    assert labelled[REJECTION].to_pylist() == [None, Rejection.BAD_UTF8]


OBJECTS = ["a man", None, float("nan"), pd.NA, 3, b"a man", ["a man"], "a man \ud83d", " "]
JUDGED = [
    (None, None),
    *[(Rejection.NULL_TEXT, "premise is null")] * 3,
    *[(Rejection.NULL_TEXT, f"premise is of type {kind}, not a text") for kind in ("int", "bytes", "list")],
    (Rejection.BAD_UTF8, f"premise base64 {base64.b64encode(b'a man ' + bytes([0xED, 0xA0, 0xBD])).decode()}"),
    (Rejection.EMPTY_TEXT, "premise is blank"),
]


@pytest.mark.parametrize(
    "pairs",
    [
        [(text, "a") for text in OBJECTS],
        ((text, "a") for text in OBJECTS),
        pd.DataFrame({"premise": pd.Series(OBJECTS, dtype=object), "hypothesis": "a"}),
    ],
    ids=["list", "generator", "frame"],
)
def test_a_text_that_is_none_rejects_its_row_and_no_other(labeler: Labeler, pairs: Any) -> None:
    labelled = labeler.label(pairs)
    assert list(zip(labelled[REJECTION].to_pylist(), labelled[DETAIL].to_pylist(), strict=True)) == JUDGED
    assert labelled["premise"].to_pylist() == ["a man", *[None] * 7, " "], "what no column of texts can hold is null"
    assert [label is not None for label in labelled[LABEL].to_pylist()] == [True, *[False] * 8]


def test_of_two_texts_that_are_none_the_first_is_told(labeler: Labeler) -> None:
    labelled = labeler.label([(None, 3), (3, None), (4, b"x"), ("\ud83d", 3)])
    premise = [name.partition(" ")[0] for name in labelled[DETAIL].to_pylist()]
    assert premise == ["premise"] * 4
    assert labelled[DETAIL].to_pylist()[:3] == [
        "premise is null",
        "premise is of type int, not a text",
        "premise is of type int, not a text",
    ]


def test_a_column_with_bad_utf8_can_be_read_afterwards(labeler: Labeler) -> None:
    premises = bytes_column([b"a man", b"\xff"])
    labelled = labeler.label(pa.table({"premise": premises, "hypothesis": ["a", "b"]}))
    assert labelled["premise"].to_pylist() == ["a man", None]
    assert labelled[DETAIL].to_pylist() == [None, "premise base64 /w=="]


@pytest.mark.parametrize(
    "empty",
    [
        pd.DataFrame({"premise": [], "hypothesis": []}),
        pd.DataFrame(columns=["premise", "hypothesis"]),
        pa.table({"premise": pa.array([], pa.int64()), "hypothesis": pa.nulls(0)}),
        iter([]),
    ],
)
def test_a_table_without_rows_is_taken_whatever_its_columns_hold(labeler: Labeler, empty: Any) -> None:
    labelled = labeler.label(empty)
    assert (labelled.num_rows, labelled.column_names) == (0, ["premise", "hypothesis", *labeler.added_columns])


@dataclass(frozen=True)
class OnlyAStream:
    """A table of a library that speaks Arrow's protocol, and nothing else."""

    table: pa.Table

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self.table.__arrow_c_stream__(requested_schema)


@dataclass(frozen=True)
class OnlyAnArray:
    """The same for one batch."""

    batch: pa.RecordBatch

    def __arrow_c_array__(self, requested_schema: Any = None) -> Any:
        return self.batch.__arrow_c_array__(requested_schema)


@dataclass(frozen=True)
class HuggingFaces:
    """A `Dataset` as `datasets` has it: its rows are not those of the table below, but a choice of them."""

    table: pa.Table
    rows: list[int]
    column_names = ("premise", "hypothesis")

    def with_format(self, name: str) -> HuggingFaces:
        """Itself, as only Arrow's format is asked for."""
        assert name == "arrow"
        return self

    def __getitem__(self, key: slice) -> pa.Table:
        assert key == slice(None)
        return self.table.take(self.rows)


def test_tables_of_other_libraries_are_taken(labeler: Labeler) -> None:
    expected = labeler.label(PAIRS)
    assert labeler.label(OnlyAStream(pa.table(COLUMNS))).equals(expected)
    assert labeler.label(OnlyAnArray(pa.record_batch(COLUMNS))).equals(expected)
    assert labeler.label(HuggingFaces(pa.table(COLUMNS), [1, 0])).equals(expected.take([1, 0]))


class Streamed(HuggingFaces):
    """One whose rows come one by one, or a dictionary of several."""

    def __getitem__(self, key: slice) -> pa.Table:
        raise NotImplementedError


def test_a_data_set_without_a_table_is_refused(labeler: Labeler) -> None:
    with pytest.raises(InputError, match="Streamed gives no table of all its rows; give one split, as a Dataset that"):
        labeler.label(Streamed(pa.table(COLUMNS), []))


def test_precision_and_device_are_the_jobs_unless_they_are_asked_for(folder: Path, labeler: Labeler) -> None:
    device = requested_device("auto", "auto", flag="device")
    expected = resolved_precision("auto", device, cpu_flags(), card_of(device))
    assert (labeler.device, labeler.precision) == (device, expected)
    asked = Labeler(str(folder), precision="int8")
    assert (asked.device, asked.precision) == (DeviceKind.CPU, Precision.INT8)
    exact = Labeler(str(folder), precision=Precision.FP32, device=DeviceKind.CPU)
    assert exact.precision is Precision.FP32


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"precision": "fp64"},
            "precision='fp64': it is not a known value; give one of auto, fp32, bf16, fp16, int8, fp8",
        ),
        ({"precision": "fp16", "device": "cpu"}, "precision=fp16: fp16 is for GPUs; leave it out, or give"),
        ({"precision": "fp8", "device": "cpu"}, "precision=fp8: fp8 is for GPUs; leave it out, or give"),
        ({"device": "tpu"}, "device='tpu': it is not a known value; give one of auto, cpu, cuda"),
    ],
)
def test_a_precision_or_device_that_is_none_is_refused(folder: Path, arguments: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Labeler(str(folder), **arguments)  # type: ignore[arg-type]


def test_a_gpu_that_is_not_there_is_refused(folder: Path) -> None:
    if not card_here().obstacle:
        pytest.skip("there is one")
    with pytest.raises(SettingsError, match=r"device=cuda: torch [\w.+]+ finds no CUDA device"):
        Labeler(str(folder), device="cuda")


@pytest.mark.process
def test_progress_is_a_line_on_a_terminal_and_changes_nothing(folder: Path) -> None:
    script = (
        "import sys; from albert_infer import Labeler; labeler = Labeler(sys.argv[1]); pairs = [('a man', 'a')] * 3;"
        "assert labeler.label(pairs, progress=True).equals(labeler.label(pairs)); sys.stderr.flush()"
    )
    terminal, end = pty.openpty()
    command = [sys.executable, "-c", script, str(folder)]
    with subprocess.Popen(command, stderr=end, env={**os.environ, "TERM": "xterm", "COLUMNS": "120"}) as process:
        os.close(end)
        shown = b""
        # The end of a terminal is told as an error.
        with suppress(OSError):
            while piece := os.read(terminal, 4096):
                shown += piece
    os.close(terminal)
    assert process.returncode == 0, shown
    assert b"labelling" in shown
    assert b"3 of 3 pairs" in shown


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (["ab"], "item 0 is 'ab'"),
        ([("a", "b"), ("a", "b", "c")], "item 1 is"),
        ([("a",)], "item 0 is"),
        ([b"ab"], "item 0 is b'ab'"),
        ([7], "item 0 is 7"),
        (None, "found NoneType; give"),
        (7, "found int; give"),
        ("ab", "found str; give"),
        (COLUMNS, "found dict; give"),
        (pa.array(["a"]), "pairs as a table: ArrowInvalid"),
        (
            pd.DataFrame({**COLUMNS, "genre": pd.Series(["x", 1], dtype=object)}),
            "in column genre; give columns that Arr",
        ),
        (pd.DataFrame({**COLUMNS, "genre": pd.Series(["x", "\ud83d"], dtype=object)}), "in column genre; give columns"),
        (pd.DataFrame(COLUMNS).iterrows(), "item 0 holds a Series of a table; give the table itself"),
        (pd.DataFrame(COLUMNS, index=["x", "y"]).items(), "item 0 holds a Series of a table; give the table itself"),
        (pa.table({"premise": ["a"]}), "one column hypothesis"),
        (pa.table([["a"], ["b"], ["c"]], names=["premise", "hypothesis", "premise"]), "one column premise: 2 among"),
        (pa.table({"premise": ["a"], "hypothesis": [3]}), "found int64"),
        (pa.table({"premise": [1.5, float("nan")], "hypothesis": ["a", "b"]}), "found double"),
        (pa.table({"premise": ["a"], "hypothesis": ["b"], "label": ["c"]}), "columns label are there"),
        (pd.DataFrame({**COLUMNS, "Label": ["c", "d"]}), "columns Label are there"),
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


@pytest.mark.process
def test_importing_the_package_loads_nothing_heavy() -> None:
    script = "import sys, albert_infer; print(*{'numpy', 'pyarrow', 'torch', 'ray'} & sys.modules.keys())"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "\n"
