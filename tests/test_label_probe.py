"""The label-order probe: the right order passes in silence, a wrong one is refused with the right one."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from itertools import permutations
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from checkpoints import CPU_PRECISIONS
from hypothesis import given
from hypothesis import strategies as st
from job_runs import tiny_checkpoint
from pairs import PROPERTY

import albert_infer
from albert_infer.errors import ModelError
from albert_infer.model.checkpoint import load_checkpoint
from albert_infer.preflight.checks import Checks, Preflight, checked
from albert_infer.preflight.label_probe import CONFIRMS, FAILS, FITS, Probe, judged, probe_pairs, refuse_wrong_order
from albert_infer.schema import LABEL, DeviceKind, NliLabel, Precision

ORDERS = [*permutations(NliLabel)]
TRUE_ORDER = tuple(NliLabel)
WRONG_ORDERS = [order for order in ORDERS if order != TRUE_ORDER]
BUILTIN = Path(albert_infer.__file__).parent / "model" / "builtin" / "checkpoint"
FOLDER = os.environ.get("NLI_TEST_PAIRS", "")


def found(
    source: Path | str, *label_order: str, precision: Precision = Precision.FP32, required: bool = False
) -> Preflight:
    checkpoint = load_checkpoint(str(source), label_order=label_order)
    # So short that the run's own tokenizer would cut them.
    tokenizer = checkpoint.tokenizer(max_length=8)
    checks = Checks(tokenizer, precision, max_batch_tokens=512, compared=False, require_probe=required)
    return checked(checkpoint, checks=checks, device=DeviceKind.CPU, threads=1)


def refusal(source: Path | str, *label_order: str, required: bool = False) -> ModelError:
    with pytest.raises(ModelError) as refused:
        found(source, *label_order, required=required)
    return refused.value


# --- the pairs


def test_each_label_has_ten_pairs_and_no_text_is_there_twice_as_a_premise() -> None:
    pairs = probe_pairs()
    assert Counter(pairs["gold_label"].to_pylist()) == dict.fromkeys(map(str, NliLabel), 10)
    assert len(set(pairs["premise"].to_pylist())) == 30


@pytest.mark.skipif(not FOLDER, reason="NLI_TEST_PAIRS does not name a folder with real pairs")
def test_no_text_of_the_pairs_is_one_of_a_corpus_that_checkpoints_were_trained_on() -> None:
    ours, theirs = texts_of(probe_pairs()), set()
    for path in Path(FOLDER).glob("*.parquet"):
        theirs |= texts_of(pq.read_table(path))
    assert len(theirs) > 10_000
    assert ours & theirs == set()


def texts_of(pairs: pa.Table) -> set[str]:
    return {text.strip(" .").lower() for name in ("premise", "hypothesis") for text in pairs[name].to_pylist()}


# --- the built-in checkpoint


@pytest.mark.computes
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("precision", CPU_PRECISIONS)
def test_the_right_order_is_seen_to_be_right_in_every_precision(precision: Precision) -> None:
    told = found("builtin", precision=precision, required=True).probe
    assert told.pairs == 30
    # Well above what an order must have, or the next edition of the checkpoint might fail by a hair.
    assert told.right >= 0.9
    assert (told.best_order, told.best_right) == (TRUE_ORDER, told.right)
    assert "warning" not in told.to_text()


@pytest.mark.computes
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("order", WRONG_ORDERS)
def test_every_wrong_order_is_refused_with_the_right_one(order: tuple[NliLabel, ...]) -> None:
    told = refusal("builtin", *order)
    assert told.asked == f"model builtin with label order {','.join(order)}"
    assert told.remedy == "give --label-order entailment,neutral,contradiction"


@pytest.mark.computes
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("order", [ORDERS[1], ORDERS[3]], ids=["two exchanged", "all moved"])
def test_a_checkpoint_that_calls_its_outputs_wrongly_is_refused_with_what_then_overrules_its_names(
    order: tuple[NliLabel, ...], tmp_path: Path
) -> None:
    folder = misnamed(tmp_path / "checkpoint", order)
    told = refusal(folder)
    assert told.asked == f"model {folder} with label order {','.join(order)}"
    assert told.remedy == "give --label-order entailment,neutral,contradiction"
    assert found(folder, *told.remedy.split()[-1].split(",")).probe.confirms_order


def misnamed(folder: Path, names: tuple[NliLabel, ...]) -> Path:
    """The built-in checkpoint with other names for the outputs of its classifier."""
    shutil.copytree(BUILTIN, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "id2label": dict(enumerate(names))}))
    return folder


# --- one that cannot be judged


@pytest.mark.usefixtures("one_thread")
def test_a_checkpoint_that_knows_no_english_passes_with_a_warning_unless_the_probe_is_required(tmp_path: Path) -> None:
    folder = tiny_checkpoint(tmp_path)
    told = found(folder).probe
    assert told.right < CONFIRMS
    assert told.to_text().startswith(f"warning: only {round(told.right * 30)} of 30 easy test pairs")
    refused = refusal(folder, required=True)
    assert refused.asked == f"--require-probe of model {folder}"
    assert "leave --require-probe out" in refused.remedy


# --- what follows from the labels


@PROPERTY
@given(st.sampled_from(ORDERS), st.sampled_from(ORDERS), st.lists(st.sampled_from([*NliLabel]), min_size=1))
def test_the_order_of_a_checkpoint_that_is_always_right_is_found_whatever_was_declared(
    declared: tuple[NliLabel, ...], true: tuple[NliLabel, ...], gold: list[NliLabel]
) -> None:
    told = judged(declared, labelled([declared[true.index(label)] for label in gold], gold))
    assert told.best_right == 1
    assert told.right == sum(declared[true.index(label)] == label for label in gold) / len(gold)
    if len(set(gold)) > 1 and told.right < 1:
        assert [label for label in told.best_order if label in gold] == [label for label in true if label in gold]


def test_a_pair_without_a_label_is_right_under_no_order() -> None:
    told = judged(TRUE_ORDER, labelled([NliLabel.NEUTRAL, None], [NliLabel.NEUTRAL] * 2))
    assert (told.right, told.best_right) == (0.5, 0.5)


def labelled(labels: list[NliLabel | None], gold: list[NliLabel]) -> pa.Table:
    return pa.table({LABEL: pa.array(labels, pa.string()), "gold_label": pa.array(gold, pa.string())})


@pytest.mark.parametrize(
    ("right", "best", "refused", "required"),
    [
        (12, 24, True, True),
        (13, 24, False, True),
        (12, 23, False, True),
        (17, 17, False, True),
        (18, 18, False, False),
    ],
)
def test_another_order_must_fit_and_the_declared_one_fail(right: int, best: int, refused: bool, required: bool) -> None:
    assert (FITS, FAILS, CONFIRMS) == (0.8, 0.4, 0.6)
    checkpoint = load_checkpoint("builtin")
    told = Probe(30, right / 30, ORDERS[3] if best > right else TRUE_ORDER, best / 30)
    for asked, expected in ((False, refused), (True, required)):
        if expected:
            with pytest.raises(ModelError):
                refuse_wrong_order(checkpoint, told, required=asked)
        else:
            refuse_wrong_order(checkpoint, told, required=asked)
