"""Labels and probabilities are Hugging Face's, in our order of columns, whatever the company of a pair."""
# ruff: noqa: S106 - the name of a special token is no password

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import ClassVar, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
from checkpoints import Checkpoint, change_weights, overflow_in_bf16, random_checkpoint, without_meaning
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pairs import FILE_PROPERTY, PROPERTY, WORDS, pair_table, wordpiece
from transformers import PreTrainedTokenizerFast

import albert_infer
from albert_infer.classify.classification import Classifier, default_batch_tokens
from albert_infer.engine import AlbertShape
from albert_infer.engine.albert import AlbertEngine
from albert_infer.engine.cards import Card
from albert_infer.engine.memory import MicroBatchLogits, logits_within_memory
from albert_infer.engine.weights import onednn_has_bf16
from albert_infer.labeler import Labeler
from albert_infer.model.calibration import CALIBRATION, calibration_json
from albert_infer.model.checkpoint import load_checkpoint
from albert_infer.prepare.tokenization import append_tokens
from albert_infer.prepare.validation import mark_rejected
from albert_infer.prepare.windows import MAX_WINDOWS
from albert_infer.schema import (
    DETAIL,
    LABEL,
    N_TOKENS,
    N_WINDOWS,
    NEEDS_REVIEW,
    PROBABILITIES,
    REJECTION,
    TRUNCATED,
    DeviceKind,
    EncodedPairs,
    NliLabel,
    Precision,
    Rejection,
)

BUILTIN_PAIRS = Path(albert_infer.__file__).parent / "model" / "builtin" / "pairs.parquet"

# Largest difference of a probability in fp32, to Hugging Face and between companies.
TOLERANCE: Final = 1e-5

ORDERS = [*permutations(NliLabel)]
PREMISES = ["a man plays music", "the dog sleeps", "a woman runs in the park", "7 dogs", "the man sleeps outside " * 12]
HYPOTHESES = ["a man plays", "the dog runs", "the woman sleeps", "a dog 8", "a man runs"]
PAIRS = [*zip(PREMISES, HYPOTHESES, strict=True)]
GOOD = [(premise, hypothesis) for premise in PREMISES for hypothesis in HYPOTHESES[:3]]
BAD = [(None, "a"), ("a", None), (" ", "a"), ("a", "\t"), ("a", "the man sleeps outside " * 12)]


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    saved = random_checkpoint(
        tmp_path_factory.mktemp("checkpoint"), id2label={0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}
    )
    (saved.folder / "tokenizer.json").write_text(wordpiece().to_str())
    return saved


@pytest.fixture(scope="module")
def labeler(checkpoint: Checkpoint) -> Labeler:
    return labeler_of(checkpoint.folder)


def labeler_of(folder: Path, order: tuple[NliLabel, ...] = ORDERS[0], max_batch_tokens: int = 64) -> Labeler:
    return Labeler(str(folder), label_order=order, max_batch_tokens=max_batch_tokens, precision="fp32")


def probabilities_of(labelled: pa.Table) -> NDArray[np.float32]:
    return np.stack([labelled[name].to_numpy() for name in PROBABILITIES], axis=1)


@pytest.fixture(scope="module")
def hugging_face(checkpoint: Checkpoint) -> NDArray[np.float32]:
    """Softmax of each of the checkpoint's outputs for the pairs above, one pair at a time."""
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=wordpiece(), cls_token="[CLS]", sep_token="[SEP]"
    )
    how = {"truncation": "only_first", "max_length": 40, "return_tensors": "pt", "return_token_type_ids": True}
    with torch.inference_mode():
        rows = [
            checkpoint.model(**tokenizer(premise, hypothesis, **how)).logits.softmax(dim=1)
            for premise, hypothesis in zip(PREMISES, HYPOTHESES, strict=True)
        ]
    return np.asarray(torch.cat(rows))


@pytest.mark.parametrize("order", ORDERS)
def test_probabilities_are_hugging_faces_under_the_name_of_their_label(
    checkpoint: Checkpoint, hugging_face: NDArray[np.float32], order: tuple[NliLabel, ...]
) -> None:
    labelled = labeler_of(checkpoint.folder, order).label(PAIRS)
    for output, label in enumerate(order):
        np.testing.assert_allclose(labelled[f"p_{label}"].to_numpy(), hugging_face[:, output], atol=TOLERANCE)
    assert labelled[LABEL].to_pylist() == [order[best] for best in hugging_face.argmax(axis=1)]


def test_probabilities_are_float32_that_sum_to_1_and_the_label_is_the_largest(labeler: Labeler) -> None:
    labelled = labeler.label(PAIRS)
    probabilities = probabilities_of(labelled)
    assert [labelled.schema.field(name).type for name in PROBABILITIES] == [pa.float32()] * 3
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=TOLERANCE)
    assert labelled[LABEL].to_pylist() == [list(NliLabel)[best] for best in probabilities.argmax(axis=1)]
    # Otherwise the labels above would say little.
    assert probabilities.std(axis=0).min() > 10 * TOLERANCE


def test_a_temperature_divides_the_logits_and_changes_no_label(
    checkpoint: Checkpoint, hugging_face: NDArray[np.float32], tmp_path: Path
) -> None:
    folder = tmp_path / "calibrated"
    shutil.copytree(checkpoint.folder, folder)
    (folder / CALIBRATION).write_bytes(calibration_json(2.5, {}))
    order = ORDERS[3]
    plain, calibrated = (labeler_of(source, order).label(PAIRS) for source in (checkpoint.folder, folder))
    assert calibrated[LABEL].equals(plain[LABEL])
    powers = hugging_face.astype(np.float64) ** (1 / 2.5)
    expected = powers / powers.sum(axis=1, keepdims=True)
    for output, label in enumerate(order):
        np.testing.assert_allclose(calibrated[f"p_{label}"].to_numpy(), expected[:, output], atol=TOLERANCE)


@pytest.mark.computes
@FILE_PROPERTY
@given(data=st.data())
def test_a_row_needs_review_where_its_largest_stored_probability_is_below_the_limit(
    checkpoint: Checkpoint, labeler: Labeler, data: st.DataObject
) -> None:
    largest = probabilities_of(labeler.label(GOOD)).max(axis=1)
    limit = data.draw(st.one_of(st.floats(0, 1), st.sampled_from(largest.tolist())))
    reviewed = Labeler(
        str(checkpoint.folder), label_order=ORDERS[0], precision="fp32", max_batch_tokens=64, review_below=limit
    )
    expected = [bool(share < np.float32(limit)) for share in largest] + [None] * len(BAD)
    assert reviewed.label([*GOOD, *BAD])[NEEDS_REVIEW].to_pylist() == expected


@pytest.fixture(scope="module")
def alone(labeler: Labeler) -> dict[tuple[str | None, str | None], pa.Table]:
    """Each pair, labelled in a call of its own."""
    return {pair: labeler.label([pair]) for pair in [*GOOD, *BAD]}


@pytest.mark.computes
@PROPERTY
@given(pairs=st.lists(st.sampled_from([*GOOD, *BAD]), max_size=8))
def test_every_row_is_kept_in_order_and_labelled_as_it_is_alone(
    labeler: Labeler,
    alone: dict[tuple[str | None, str | None], pa.Table],
    pairs: list[tuple[str | None, str | None]],
) -> None:
    together = labeler.label(pairs)
    expected = pa.concat_tables([together.slice(0, 0), *(alone[pair] for pair in pairs)])
    exact = [name for name in together.column_names if name not in PROBABILITIES]
    assert together.select(exact).to_pylist() == expected.select(exact).to_pylist()
    np.testing.assert_allclose(probabilities_of(together), probabilities_of(expected), atol=TOLERANCE)
    assert together[LABEL].is_null().to_pylist() == [pair in BAD for pair in pairs]


class RecordingEngine(AlbertEngine):
    """An engine that remembers which rows it computed."""

    computed: list[int]

    def micro_batch_logits(
        self, pairs: EncodedPairs, batches: Sequence[NDArray[np.int64]]
    ) -> Iterator[MicroBatchLogits]:
        """The engine's own logits."""
        self.computed = [int(row) for batch in batches for row in batch]
        return super().micro_batch_logits(pairs, batches)


def test_pairs_that_are_alike_are_computed_once_and_told_each(checkpoint: Checkpoint, labeler: Labeler) -> None:
    loaded = load_checkpoint(str(checkpoint.folder), label_order=ORDERS[0])
    engine = RecordingEngine(
        loaded.shape, loaded.weights, precision=Precision.FP32, device=DeviceKind.CPU, threads=None
    )
    tokenizer = loaded.tokenizer(max_length=None)
    # The tokenizer sees no case, so the fourth pair is the first again; rows without tokens are alike too.
    premises = ["a man plays", "the dog", None, "A MAN PLAYS", "the dog", None]
    hypotheses = ["a man", "the dog", "a man", "a man", "the dog", "a man"]
    prepared = append_tokens(mark_rejected(pair_table(premises, hypotheses)), tokenizer)
    told: list[int] = []
    classifier = Classifier(engine, loaded.label_order, max_batch_tokens=64)
    labelled = classifier.classified(prepared, lambda batch: told.extend(batch.lengths))
    assert sorted(engine.computed) == [0, 1]
    assert sorted(told) == sorted(length for length in prepared[N_TOKENS].to_pylist() if length)
    expected = labeler.label(zip(premises, hypotheses, strict=True))
    assert labelled[LABEL].equals(expected[LABEL])
    assert labelled.take([3, 4])[PROBABILITIES[0]].equals(labelled.take([0, 1])[PROBABILITIES[0]])


def test_pairs_are_alike_in_tokens_and_in_segments() -> None:
    pairs = EncodedPairs(
        input_ids=np.array([1, 2, 3, 1, 2, 3, 1, 2, 1, 2, 3, 3, 1, 2], dtype=np.int32),
        offsets=np.array([0, 3, 6, 8, 11, 11, 12, 14, 14]),
        premise_segment_tokens=np.array([2, 1, 1, 2, 0, 1, 1, 0], dtype=np.int32),
    )
    assert pairs.first_alike().tolist() == [0, 1, 2, 0, 4, 5, 2, 4]


@pytest.mark.parametrize("max_batch_tokens", [1, 20, 1000])
def test_the_token_budget_changes_no_label(
    checkpoint: Checkpoint, hugging_face: NDArray[np.float32], max_batch_tokens: int
) -> None:
    labelled = labeler_of(checkpoint.folder, max_batch_tokens=max_batch_tokens).label(PAIRS)
    np.testing.assert_allclose(probabilities_of(labelled), hugging_face, atol=TOLERANCE)


def test_the_same_pairs_twice_have_the_same_bits(labeler: Labeler) -> None:
    assert labeler.label(PAIRS).equals(labeler.label(PAIRS))


def test_shuffled_pairs_have_the_same_labels(labeler: Labeler) -> None:
    order = [3, 0, 4, 2, 1]
    shuffled = labeler.label([PAIRS[row] for row in order])
    expected = labeler.label(PAIRS).take(order)
    assert shuffled[LABEL].equals(expected[LABEL])
    np.testing.assert_allclose(probabilities_of(shuffled), probabilities_of(expected), atol=TOLERANCE)


def test_a_pair_that_is_too_long_is_cut_and_says_so(labeler: Labeler) -> None:
    labelled = labeler.label(PAIRS)
    assert labelled[TRUNCATED].to_pylist() == [False, False, False, False, True]
    assert labelled[N_TOKENS].to_pylist()[-1] == 40


def packaged_in(precision: str, rows: int) -> pa.Table:
    """The labels of the built-in checkpoint for the first pairs in the package."""
    pairs = pq.read_table(BUILTIN_PAIRS, columns=["premise", "hypothesis"])
    return Labeler(precision=Precision(precision)).label(pairs.slice(0, rows))


@pytest.mark.process
@pytest.mark.parametrize(("precision", "agreement", "difference"), [("bf16", 0.99, 0.03), ("int8", 0.985, 0.15)])
def test_fewer_digits_turn_hardly_a_label_of_a_trained_checkpoint(
    precision: str, agreement: float, difference: float
) -> None:
    # Without instructions for bf16, all pairs would take fifteen seconds.
    rows = 100 if precision == "bf16" and not onednn_has_bf16() else 306
    fp32, fewer = packaged_in("fp32", rows), packaged_in(precision, rows)
    assert pc.mean(pc.equal(fp32[LABEL], fewer[LABEL])).as_py() >= agreement
    apart = np.abs(probabilities_of(fp32) - probabilities_of(fewer)).max()
    assert 1e-4 < apart < difference, "equal to the last digits would mean that it was computed in fp32"


# --- premises in windows

LONG = [" ".join(np.random.default_rng(words).choice(WORDS[:-1], words)) for words in (60, 200, 5000)]
WITH_LONG = [*GOOD[:6], *((premise, hypothesis) for premise in LONG[:2] for hypothesis in HYPOTHESES[:2]), *BAD[2:]]
# What a pair of 40 tokens has for the premise beside [CLS], two [SEP] and a hypothesis of as many words.
ROOM = {hypothesis: 37 - len(hypothesis.split()) for hypothesis in HYPOTHESES[:2]}


@pytest.fixture(scope="module")
def balanced(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint with a bias that leaves no label to all pairs, as random weights do."""
    pairs = [(" ".join(LONG[2].split()[start : start + 30]), "a man plays") for start in range(0, 5000, 30)]
    bias = np.log(probabilities_of(labeler_of(checkpoint.folder).label(pairs))).mean(axis=0)
    folder = tmp_path_factory.mktemp("balanced") / "checkpoint"
    return changed(checkpoint, folder, lambda tensors: tensors["classifier.bias"].sub_(torch.from_numpy(bias)))


@pytest.fixture(scope="module")
def truncating(balanced: Path) -> Labeler:
    return labeler_of(balanced, max_batch_tokens=400)


@pytest.fixture(scope="module")
def in_windows(balanced: Path) -> Labeler:
    return Labeler(str(balanced), label_order=ORDERS[0], precision="fp32", max_batch_tokens=400, long_premise="window")


@pytest.mark.computes
@pytest.mark.parametrize("premise", LONG, ids=["60 words", "200 words", "5000 words"])
@pytest.mark.parametrize("hypothesis", HYPOTHESES[:2])
def test_a_long_pair_has_the_probabilities_of_the_window_that_decides(
    truncating: Labeler, in_windows: Labeler, premise: str, hypothesis: str
) -> None:
    words, room = premise.split(), ROOM[hypothesis]
    last = len(words) - room
    starts = [*range(0, last, room - room // 4), last]
    windows = truncating.label([(" ".join(words[start : start + room]), hypothesis) for start in starts])
    labels, probabilities = windows[LABEL].to_pylist(), probabilities_of(windows)
    expected = next(label for label in ("entailment", "contradiction", "neutral") if label in labels)
    deciding = max(
        (row for row, label in enumerate(labels) if label == expected), key=lambda row: probabilities[row].max()
    )
    labelled = in_windows.label([(premise, hypothesis)])
    assert labelled[LABEL].to_pylist() == [expected]
    np.testing.assert_allclose(probabilities_of(labelled)[0], probabilities[deciding], atol=TOLERANCE)
    assert labelled[N_WINDOWS].to_pylist() == [len(starts)]
    assert labelled[N_TOKENS].to_pylist() == [40 * len(starts)]
    assert labelled[TRUNCATED].to_pylist() == [False]


def test_windows_turn_labels_of_long_pairs_and_leave_the_bits_of_those_that_fit(
    truncating: Labeler, in_windows: Labeler
) -> None:
    truncated, windowed = (each.label(WITH_LONG) for each in (truncating, in_windows))
    fits = np.flatnonzero(~np.array(truncated[TRUNCATED].to_pylist()))
    assert windowed.take(fits).drop_columns([N_WINDOWS]).equals(truncated.take(fits))
    assert set(windowed.take(fits)[N_WINDOWS].to_pylist()) == {0, 1}
    assert not windowed[LABEL].equals(truncated[LABEL]), "otherwise windows would show nothing"
    assert in_windows.label(WITH_LONG).equals(windowed), "the same bits twice"


@FILE_PROPERTY
@given(pairs=st.lists(st.sampled_from(WITH_LONG), max_size=5))
def test_a_long_pair_is_labelled_as_it_is_alone(
    in_windows: Labeler,
    alone_in_windows: dict[tuple[str | None, str | None], pa.Table],
    pairs: list[tuple[str | None, str | None]],
) -> None:
    together = in_windows.label(pairs)
    expected = pa.concat_tables([together.slice(0, 0), *(alone_in_windows[pair] for pair in pairs)])
    exact = [name for name in together.column_names if name not in PROBABILITIES]
    assert together.select(exact).equals(expected.select(exact))
    np.testing.assert_allclose(probabilities_of(together), probabilities_of(expected), atol=TOLERANCE)


@pytest.fixture(scope="module")
def alone_in_windows(in_windows: Labeler) -> dict[tuple[str | None, str | None], pa.Table]:
    """Each pair, labelled in windows in a call of its own."""
    return {pair: in_windows.label([pair]) for pair in WITH_LONG}


def test_long_pairs_that_are_alike_are_computed_once_and_their_tokens_told_each(checkpoint: Checkpoint) -> None:
    loaded = load_checkpoint(str(checkpoint.folder), label_order=ORDERS[0])
    engine = RecordingEngine(
        loaded.shape, loaded.weights, precision=Precision.FP32, device=DeviceKind.CPU, threads=None
    )
    tokenizer = loaded.tokenizer(max_length=None, long_premise="window")
    pairs = [(LONG[0], "a man"), ("the dog", "a"), (LONG[0].upper(), "a man"), (None, "a")]
    prepared = append_tokens(mark_rejected(pair_table(*zip(*pairs, strict=True))), tokenizer)
    told: list[tuple[int, int]] = []
    classifier = Classifier(engine, loaded.label_order, max_batch_tokens=64)
    labelled = classifier.classified(prepared, lambda batch: told.append((int(batch.lengths.sum()), batch.pairs_done)))
    assert labelled[N_WINDOWS].to_pylist() == [2, 1, 2, 0]
    assert engine.computed == [0], "the second windows, as one"
    assert [sum(part) for part in zip(*told, strict=True)] == [sum(prepared[N_TOKENS].to_pylist()), 3]
    assert told[-1] == (2 * 40, 2), "both are done with their last window"
    assert labelled.slice(0, 1).select(PROBABILITIES).equals(labelled.slice(2, 1).select(PROBABILITIES))


def test_more_windows_than_anyone_computes_reject_their_pair_and_change_no_other(
    truncating: Labeler, in_windows: Labeler
) -> None:
    # One token of the premise a window.
    too_many, enough = ((" ".join(["dog"] * words), "a man " * 18) for words in (MAX_WINDOWS + 1, MAX_WINDOWS))
    labelled = in_windows.label([*GOOD, too_many, enough])
    assert labelled[REJECTION].to_pylist() == [None] * len(GOOD) + [Rejection.TOO_MANY_WINDOWS, None]
    assert f"more than {MAX_WINDOWS:,} windows" in labelled[DETAIL].to_pylist()[-2]
    assert labelled[LABEL].is_null().to_pylist() == [False] * len(GOOD) + [True, False]
    assert labelled[N_WINDOWS].to_pylist()[-1] == MAX_WINDOWS
    plain = truncating.label([*GOOD, too_many, enough])
    fits = np.flatnonzero(~np.array(plain[TRUNCATED].to_pylist()))
    assert labelled.take(fits).drop_columns([N_WINDOWS]).equals(plain.take(fits))


def test_a_window_of_no_finite_meaning_rejects_its_pair_alone(
    checkpoint: Checkpoint, labeler: Labeler, tmp_path: Path
) -> None:
    broken = changed(checkpoint, tmp_path / "nan", without_meaning(wordpiece().get_vocab()["dog"]))
    # Only the last of its windows has the word.
    pairs = [("a man " * 100 + "dog", "a man"), ("a man " * 100, "a man"), ("a man", "a woman")]
    labelled = Labeler(str(broken), label_order=ORDERS[0], precision="fp32", long_premise="window").label(pairs)
    assert labelled[REJECTION].to_pylist() == [Rejection.NONFINITE_LOGITS, None, None]
    assert labelled[N_WINDOWS].to_pylist() == [8, 8, 1]
    assert labelled[LABEL].to_pylist()[2] == labeler.label(pairs)[LABEL].to_pylist()[2]


# --- rows that the device fails on


class CrampedEngine(AlbertEngine):
    """An engine on a device with memory for 20 tokens."""

    def micro_batch_logits(
        self, pairs: EncodedPairs, batches: Sequence[NDArray[np.int64]]
    ) -> Iterator[MicroBatchLogits]:
        """The engine's own logits, as far as they fit."""

        def forward(rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], torch.Tensor]:
            if pairs.lengths[rows].sum() > 20:
                raise torch.OutOfMemoryError
            (batch,) = AlbertEngine.micro_batch_logits(self, pairs, [rows])
            return batch.rows_B, torch.from_numpy(batch.logits_BC)

        return logits_within_memory(batches, forward, 3)


class ForgetfulEngine(AlbertEngine):
    """An engine on a device that has no memory for rows with a `dog`."""

    def micro_batch_logits(
        self, pairs: EncodedPairs, batches: Sequence[NDArray[np.int64]]
    ) -> Iterator[MicroBatchLogits]:
        """The engine's own logits, of the others."""
        dog = wordpiece().get_vocab()["dog"]
        for batch in super().micro_batch_logits(pairs, batches):
            ids = [pairs.input_ids[pairs.offsets[row] : pairs.offsets[row + 1]] for row in batch.rows_B]
            fitted = np.array([dog not in each for each in ids])
            yield replace(batch, logits_BC=np.where(fitted[:, np.newaxis], batch.logits_BC, np.nan), fitted_B=fitted)


class SlowEngine(AlbertEngine):
    """An engine whose forward passes take a while."""

    seconds: ClassVar[float] = 0.05

    def micro_batch_logits(
        self, pairs: EncodedPairs, batches: Sequence[NDArray[np.int64]]
    ) -> Iterator[MicroBatchLogits]:
        """The engine's own logits, later."""
        for batch in super().micro_batch_logits(pairs, batches):
            time.sleep(self.seconds)
            yield batch


def test_the_time_in_forward_passes_is_told_and_what_lies_around_them_is_not(checkpoint: Checkpoint) -> None:
    loaded = load_checkpoint(str(checkpoint.folder), label_order=ORDERS[0])
    engine = SlowEngine(loaded.shape, loaded.weights, precision=Precision.FP32, device=DeviceKind.CPU, threads=None)
    tokenizer = loaded.tokenizer(max_length=None)
    prepared = append_tokens(mark_rejected(pair_table(PREMISES, HYPOTHESES)), tokenizer)
    told: list[float] = []
    begun = time.monotonic()
    Classifier(engine, loaded.label_order, max_batch_tokens=8).classified(
        prepared, lambda batch: told.append(batch.seconds)
    )
    assert len(told) > 1
    assert min(told) >= SlowEngine.seconds
    assert sum(told) <= time.monotonic() - begun


def test_a_window_without_memory_rejects_its_pair_alone(checkpoint: Checkpoint) -> None:
    loaded = load_checkpoint(str(checkpoint.folder), label_order=ORDERS[0])
    engine = ForgetfulEngine(
        loaded.shape, loaded.weights, precision=Precision.FP32, device=DeviceKind.CPU, threads=None
    )
    tokenizer = loaded.tokenizer(max_length=None, long_premise="window")
    pairs = [("a man " * 100 + "dog", "a man"), ("a man " * 100, "a man"), ("a man", "a woman")]
    prepared = append_tokens(mark_rejected(pair_table(*zip(*pairs, strict=True))), tokenizer)
    labelled = Classifier(engine, loaded.label_order, max_batch_tokens=64).classified(prepared)
    assert labelled[REJECTION].to_pylist() == [Rejection.DEVICE_OUT_OF_MEMORY, None, None]


def test_a_pair_without_memory_is_rejected_and_its_neighbours_keep_their_labels(
    checkpoint: Checkpoint, labeler: Labeler
) -> None:
    loaded = load_checkpoint(str(checkpoint.folder), label_order=ORDERS[0])
    engine = CrampedEngine(loaded.shape, loaded.weights, precision=Precision.FP32, device=DeviceKind.CPU, threads=None)
    classifier = Classifier(engine, loaded.label_order, max_batch_tokens=64)
    tokenizer = loaded.tokenizer(max_length=None)
    prepared = append_tokens(mark_rejected(pair_table(PREMISES, HYPOTHESES)), tokenizer)
    halved: list[bool] = []
    labelled = classifier.classified(prepared, lambda batch: halved.append(batch.halved))
    expected = labeler.label(PAIRS)
    assert expected[N_TOKENS].to_pylist()[-1] == 40
    assert labelled[REJECTION].to_pylist() == [None] * 4 + [Rejection.DEVICE_OUT_OF_MEMORY]
    assert "memory" in labelled[DETAIL].to_pylist()[-1]
    assert labelled[LABEL].to_pylist() == [*expected[LABEL].to_pylist()[:4], None]
    np.testing.assert_allclose(
        probabilities_of(labelled.slice(0, 4)), probabilities_of(expected.slice(0, 4)), atol=TOLERANCE
    )
    assert halved == [True, True]


def changed(checkpoint: Checkpoint, folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> Path:
    """The checkpoint with other weights, in a folder of its own."""
    shutil.copytree(checkpoint.folder, folder)
    change_weights(folder, change)
    return folder


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.BF16, Precision.INT8])
def test_a_word_of_no_finite_meaning_rejects_its_pairs_and_changes_no_other(
    checkpoint: Checkpoint, tmp_path: Path, precision: Precision
) -> None:
    dog = wordpiece().get_vocab()["dog"]
    broken = changed(checkpoint, tmp_path / "nan", without_meaning(dog))
    expected, labelled = (
        Labeler(str(folder), label_order=ORDERS[0], precision=precision, max_batch_tokens=1000).label(GOOD)
        for folder in (checkpoint.folder, broken)
    )
    bad = ["dog" in " ".join(pair) for pair in GOOD]
    assert 0 < sum(bad) < len(bad)
    reason = Rejection.NONFINITE_LOGITS
    assert labelled[REJECTION].to_pylist() == [reason if is_bad else None for is_bad in bad]
    details = f"logits are not finite in {precision}, nor alone in fp32"
    assert labelled[DETAIL].to_pylist() == [details if is_bad else None for is_bad in bad]
    assert labelled[LABEL].is_null().to_pylist() == bad
    good = np.flatnonzero(~np.array(bad))
    # All in one micro-batch, as without the broken word: the same bits.
    assert labelled.take(good).equals(expected.take(good))


def test_pairs_that_overflow_in_bf16_get_the_labels_of_fp32(checkpoint: Checkpoint, tmp_path: Path) -> None:
    folder = changed(checkpoint, tmp_path / "overflow", overflow_in_bf16)
    fp32, bf16 = (
        Labeler(str(folder), label_order=ORDERS[0], precision=precision).label(PAIRS)
        for precision in (Precision.FP32, Precision.BF16)
    )
    assert bf16[REJECTION].null_count == len(PREMISES)
    assert bf16[LABEL].equals(fp32[LABEL])
    np.testing.assert_allclose(probabilities_of(bf16), probabilities_of(fp32), atol=TOLERANCE)


def shape_of(hidden: int, heads: int) -> AlbertShape:
    sizes = {"hidden_size": hidden, "intermediate_size": 4 * hidden, "num_attention_heads": heads}
    return AlbertShape.from_config({**sizes, "model_type": "albert", "hidden_act": "gelu_new", "num_labels": 3})


def card(name: str, capability: tuple[int, int], processors: int, l2_mb: int, memory_gb: int) -> Card:
    return Card(name, capability, memory_gb << 30, l2_mb << 20, processors)


CARDS: Final = {
    "T4": card("Tesla T4", (7, 5), 40, 4, 15),
    "V100": card("Tesla V100", (7, 0), 80, 6, 16),
    "A10G": card("NVIDIA A10G", (8, 6), 80, 6, 23),
    "L4": card("NVIDIA L4", (8, 9), 58, 48, 23),
    "L40S": card("NVIDIA L40S", (8, 9), 142, 96, 45),
    "A100": card("NVIDIA A100", (8, 0), 108, 40, 80),
    "H100": card("NVIDIA H100", (9, 0), 132, 50, 80),
    "H200": card("NVIDIA H200", (9, 0), 132, 50, 141),
}


@pytest.mark.parametrize(
    ("name", "small", "base", "xxlarge"),
    [
        ("T4", 32_768, 32_768, 7_680),
        ("V100", 32_768, 32_768, 8_192),
        ("A10G", 32_768, 32_768, 8_192),
        # Its activations stay in its cache.
        ("L4", 32_768, 4_096, 8_192),
        ("L40S", 32_768, 8_192, 8_192),
        ("A100", 65_536, 32_768, 8_192),
        # A narrow shape is computed faster than its launches, so that its passes are longer.
        ("H100", 87_381, 32_768, 8_192),
        ("H200", 87_381, 32_768, 8_192),
    ],
)
def test_the_token_budget_follows_the_cache_the_speed_and_the_memory_of_a_card(
    name: str, small: int, base: int, xxlarge: int
) -> None:
    shapes = (replace(shape_of(384, 12), num_hidden_layers=6), shape_of(768, 12), shape_of(4096, 64))
    found = [default_batch_tokens(DeviceKind.CUDA, shape, CARDS[name]) for shape in shapes]
    assert found == [small, base, xxlarge]


def test_a_part_of_a_card_has_a_part_of_its_memory_and_its_cache() -> None:
    base = shape_of(768, 12)
    assert default_batch_tokens(DeviceKind.CUDA, base, CARDS["L4"], share=0.5) == 31_402
    assert default_batch_tokens(DeviceKind.CUDA, base, CARDS["T4"], share=0.25) == 15 * 2**30 // 64 // 24_576
    assert default_batch_tokens(DeviceKind.CUDA, base, Card("tiny", (9, 0), memory_bytes=1)) == 1


def test_a_wide_shape_gets_fewer_tokens_a_pass_on_a_gpu() -> None:
    base, xxlarge = shape_of(768, 12), shape_of(4096, 64)
    assert [default_batch_tokens(DeviceKind.CUDA, shape) for shape in (base, xxlarge)] == [32_768, 8_192]
    assert default_batch_tokens(DeviceKind.CPU, xxlarge) == default_batch_tokens(DeviceKind.CPU, base) == 512
