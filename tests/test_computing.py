"""What a run on GPUs computes in follows from the card that a worker has, before the run is planned."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from job_runs import labelled_rows, made_up_pairs, report_of, write_pairs
from test_cards import A100, OLD_DRIVER, T4

from albert_infer.config import LabelSettings
from albert_infer.engine.cards import Card
from albert_infer.errors import DeviceError, SettingsError
from albert_infer.job.report import Report
from albert_infer.job.run import label_pairs
from albert_infer.pipeline.inline import InlineExecutor
from albert_infer.pipeline.resources import Node, WorkerResources

pytestmark = pytest.mark.usefixtures("one_thread")
PAIRS = made_up_pairs(20, seed=61)


class WithCard(InlineExecutor):
    """A machine that says it has a card; `asked` counts how often a worker was asked."""

    def __init__(self, card: Card, *kinds: str) -> None:
        self._card = card
        self._kinds = frozenset(kinds)
        self.asked = 0

    @contextmanager
    def session(self, *, debug: bool) -> Iterator[Sequence[Node]]:
        """Yield a machine with a GPU; `debug` changes nothing."""
        del debug
        yield [Node(cpus=1, gpus=1, card_kinds=self._kinds)]

    def card(self, workers: WorkerResources, gpu_wait_minutes: float | None) -> Card:
        """The card that was given."""
        assert (workers.num_gpus, gpu_wait_minutes) == (1, None)
        self.asked += 1
        return self._card


@pytest.fixture
def folder(checkpoint: Path, tmp_path: Path) -> Path:
    write_pairs(tmp_path / "in" / "a.parquet", PAIRS)
    return tmp_path


def labelled(folder: Path, checkpoint: Path, executor: InlineExecutor, **settings: Any) -> Report:
    """Label on a card that is not there, so on the CPU, which the settings allow."""
    places = {"input": str(folder / "in"), "output": str(folder / "out"), "model": str(checkpoint)}
    asked = {**places, "allow_cpu": True, "min_agreement": "off", **settings}
    return label_pairs(LabelSettings.model_validate(asked), executor=executor)


@pytest.mark.parametrize(("card", "precision"), [(A100, "bf16"), (T4, "fp16")], ids=["A100", "T4"])
def test_auto_is_the_cards_precision_and_a_part_of_the_plan(
    folder: Path, checkpoint: Path, card: Card, precision: str
) -> None:
    executor = WithCard(card)
    report = labelled(folder, checkpoint, executor)
    assert (executor.asked, report.precision, report.card) == (1, precision, card)
    assert report_of(folder / "out")["card"]["driver"] == "580.65.06"
    assert labelled_rows(folder / "out").num_rows == PAIRS.num_rows


def test_a_run_that_is_published_asks_for_no_card(folder: Path, checkpoint: Path) -> None:
    first, again = WithCard(T4), WithCard(A100)
    plan_id = labelled(folder, checkpoint, first).plan_id
    assert labelled(folder, checkpoint, again).plan_id == plan_id
    assert (first.asked, again.asked) == (1, 0)
    # Another precision is another plan.
    other = labelled(folder, checkpoint, again, precision="fp32", replace=True)
    assert (other.plan_id == plan_id, other.precision, again.asked) == (False, "fp32", 1)


def test_a_card_that_cannot_be_used_ends_the_run_before_it_is_planned(folder: Path, checkpoint: Path) -> None:
    with pytest.raises(DeviceError, match=r"CUDA 13\.0 needs 580 or later"):
        labelled(folder, checkpoint, WithCard(OLD_DRIVER), allow_cpu=False)
    assert not (folder / "out" / "_runs").exists()


def test_the_cpus_budget_and_precision_are_those_of_a_run_whose_card_cannot_be_used(
    folder: Path, checkpoint: Path
) -> None:
    report = labelled(folder, checkpoint, WithCard(OLD_DRIVER), precision="fp32")
    assert (report.max_batch_tokens, report.card, report.device) == (512, None, "cpu")


@pytest.mark.parametrize(
    ("kinds", "settings", "message"),
    [
        (("A100", "T4"), {}, "cards of different precisions"),
        (("T4",), {"precision": "bf16"}, "do not compute in it: T4"),
        ((), {"precision": "int8"}, "int8 is for CPUs"),
    ],
)
def test_what_no_card_can_do_is_refused_before_a_worker_is_asked(
    folder: Path, checkpoint: Path, kinds: tuple[str, ...], settings: dict[str, Any], message: str
) -> None:
    executor = WithCard(A100, *kinds)
    with pytest.raises(SettingsError, match=message):
        labelled(folder, checkpoint, executor, **settings)
    assert executor.asked == 0


def test_bf16_is_refused_on_a_card_without_it(folder: Path, checkpoint: Path) -> None:
    with pytest.raises(SettingsError, match=r"Tesla T4 of capability 7\.5"):
        labelled(folder, checkpoint, WithCard(T4), precision="bf16")


def test_a_worker_on_another_card_never_computes_in_another_precision(folder: Path, checkpoint: Path) -> None:
    # The worker looks at its own card, which this machine does not have.
    without = replace(A100, architectures=("sm_80",))
    with pytest.raises(DeviceError, match="finds no CUDA device"):
        labelled(folder, checkpoint, WithCard(without), allow_cpu=False)
