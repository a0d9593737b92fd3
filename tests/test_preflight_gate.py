"""The gold gate: what is counted of a gold set, and when a run must not go on."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pairs import write_pairs

import albert_infer
from albert_infer.classify.classification import Classifier
from albert_infer.errors import InputError, LimitError
from albert_infer.labeler import Labeler
from albert_infer.model.checkpoint import load_checkpoint
from albert_infer.preflight.gate import Accuracy, Gold, measure_accuracy, refuse_inaccuracy
from albert_infer.preflight.gold import GoldColumns, survey_gold
from albert_infer.schema import DeviceKind, Precision

PACKAGED = pq.read_table(Path(albert_infer.__file__).parent / "model" / "builtin" / "pairs.parquet").slice(0, 90)
TEXTS = PACKAGED.select(["premise", "hypothesis"])
# 95 % of Wilson's intervals of 83 right among 100, and of 1 of 1: R. G. Newcombe, Statistics in Medicine 17 (1998).
OF_100 = Accuracy(100, 83, 0.83, 0.745, 0.891)

pytestmark = pytest.mark.usefixtures("one_thread")


@cache
def builtin(review_below: float | None) -> Classifier:
    return Classifier.load(
        load_checkpoint("builtin"),
        precision=Precision.FP32,
        device=DeviceKind.CPU,
        max_batch_tokens=512,
        threads=1,
        review_below=review_below,
    )


@cache
def ours() -> list[str]:
    """The labels of the built-in checkpoint."""
    labels: list[str] = Labeler(precision=Precision.FP32).label(TEXTS)["label"].to_pylist()
    return labels


def found(folder: Path, pairs: pa.Table, *, review_below: float | None = None, max_length: int | None = None) -> Gold:
    """What is found of a gold set of two files, in slices of 20 rows."""
    write_pairs(folder / "gold" / "a.parquet", pairs.slice(0, 30), row_group_size=10)
    write_pairs(folder / "gold" / "b.parquet", pairs.slice(30), row_group_size=10)
    classifier = builtin(review_below)
    tokenizer = load_checkpoint("builtin").tokenizer(max_length=max_length)
    gold = survey_gold("--gold", str(folder / "gold"), GoldColumns(), slice_rows=20)
    return measure_accuracy(classifier, tokenizer, gold)


def with_gold(labels: Sequence[str | None], pairs: pa.Table = TEXTS) -> pa.Table:
    return pairs.append_column("gold_label", pa.array(labels, pa.string()))


@pytest.mark.computes
def test_every_gold_label_is_counted_once_over_files_and_slices_and_rows_without_one_are_skipped(
    tmp_path: Path,
) -> None:
    gold = [None if row % 10 == 3 else "-" if row % 10 == 6 else label for row, label in enumerate(ours())]
    wrong = {0: "neutral", 45: "contradiction", 89: "entailment"}
    for row, label in wrong.items():
        gold[row] = label if ours()[row] != label else "neutral" if label != "neutral" else "contradiction"
    told = found(tmp_path, with_gold(gold))
    assert (told.skipped, told.rejected) == (18, 0)
    assert (told.accuracy.pairs, told.accuracy.right) == (72, 69)
    assert told.accuracy.low < told.accuracy.share == 69 / 72 < told.accuracy.high
    assert (told.needing_review, told.needing_none) == (None, None)


@pytest.mark.computes
def test_a_pair_that_the_run_would_reject_is_wrong(tmp_path: Path) -> None:
    premises = TEXTS["premise"].to_pylist()
    premises[5], premises[40] = None, "  "
    pairs = TEXTS.set_column(0, "premise", pa.array(premises, pa.string()))
    told = found(tmp_path, with_gold(ours(), pairs))
    assert (told.rejected, told.accuracy.pairs, told.accuracy.right) == (2, 90, 88)


@pytest.mark.computes
def test_it_is_labelled_with_the_runs_own_tokenizer(tmp_path: Path) -> None:
    short = Labeler(max_length=16).label(TEXTS)
    told = found(tmp_path, with_gold(short["label"].fill_null("neutral").to_pylist()), max_length=16)
    rejected = short["rejection"].length() - short["rejection"].null_count
    assert rejected > 0, "the hypothesis of some leaves no room"
    assert (told.rejected, told.accuracy.right) == (rejected, 90 - rejected)


@pytest.mark.computes
def test_pairs_that_need_review_are_told_apart(tmp_path: Path) -> None:
    labelled = Labeler(precision=Precision.FP32, review_below=0.7).label(
        PACKAGED.select(["premise", "hypothesis", "gold_label"])
    )
    told = found(tmp_path, PACKAGED, review_below=0.7)
    for needed, part in ((True, told.needing_review), (False, told.needing_none)):
        rows = [row for row in labelled.to_pylist() if row["needs_review"] is needed]
        assert part is not None
        assert (part.pairs, part.right) == (len(rows), sum(row["label"] == row["gold_label"] for row in rows))
    assert "marked needs_review" in told.to_text()


def test_a_gold_set_without_any_gold_label_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none of its 90 rows has a gold label; give pairs with gold labels"):
        found(tmp_path, with_gold(["-"] * 45 + [None] * 45))


@pytest.mark.computes
def test_a_gold_label_that_is_none_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="`entails`"):
        found(tmp_path, with_gold(["neutral"] * 89 + ["entails"]))


# --- the refusal


@pytest.mark.parametrize("accepted", [None, 0.0, 0.8, 0.83])
def test_a_run_goes_on_at_its_floor_and_above(accepted: float | None) -> None:
    refuse_inaccuracy(Gold("gold/", 0, 0, OF_100, None, None), accepted)
    refuse_inaccuracy(None, accepted)


def test_a_run_is_refused_below_its_floor() -> None:
    with pytest.raises(LimitError) as refused:
        refuse_inaccuracy(Gold("gold/", 0, 3, OF_100, None, None), 0.84)
    assert refused.value.asked == "--min-accuracy 0.84 on --gold gold/"
    told = "83.0% of 100 pairs get their gold label (74.5% to 89.1% at 95% confidence), 3 rejected"
    assert refused.value.problem == told
    assert refused.value.remedy == "use a better checkpoint, or lower --min-accuracy"
