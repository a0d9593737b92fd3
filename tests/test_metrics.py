"""What is exported of a run adds up, whatever the order in which its progress is told; and needs nobody who listens."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pairs import PROPERTY

from albert_infer import storage
from albert_infer.pipeline.inline import InlineExecutor
from albert_infer.pipeline.labelling import RayExecutor
from albert_infer.pipeline.metrics import Declared, Record, RunMetrics
from albert_infer.pipeline.progress import ProgressCounts, RunProgress, UnitProgress


class Recorded:
    """Takes the numbers in the place of Ray, and refuses what a counter must not be told."""

    def __init__(self) -> None:
        self.values: dict[str, float] = defaultdict(float)

    def __call__(self, declared: Declared) -> Record:
        """What takes those of one metric."""

        def record(value: float, tags: dict[str, str]) -> None:
            assert tags.keys() == {"plan_id", *declared.tags}
            assert tags["plan_id"] == "the plan"
            name = " ".join([declared.name, *(tags[tag] for tag in declared.tags)])
            if declared.kind == "counter":
                assert value > 0, "Ray raises for less"
            self.values[name] = value + (self.values[name] if declared.kind == "counter" else 0)

        return record


def watched(counts: ProgressCounts, recorded: Recorded, *, done: int = 0, to_do: int = 2) -> Callable[[], RunProgress]:
    metrics = RunMetrics("the plan", retries_before=storage.s3_retries(), recorder=recorded)
    return metrics.watched(counts.so_far, done=done, to_do=to_do)


def progress(rows: int) -> UnitProgress:
    return UnitProgress(rows=rows, tokens=3 * rows, padded_tokens=4 * rows, forward_seconds=rows / 2)


@PROPERTY
@given(st.lists(st.integers(0, 8), max_size=8))
def test_a_unit_that_starts_over_elsewhere_counts_once_for_the_run_and_as_work_of_both(lost: list[int]) -> None:
    counts, recorded = ProgressCounts(), Recorded()
    so_far = watched(counts, recorded)
    for rows in [*lost, 8]:
        counts.report_progress("unit", progress(rows), "first")
        so_far()
    for rows in (0, 5, 9):
        counts.report_progress("unit", progress(rows), "second")
        so_far()
    assert (recorded.values["rows_total"], recorded.values["tokens_total"]) == (9, 27)
    assert recorded.values["padding_ratio"] == 1 / 4
    assert (recorded.values["actor_rows_total first"], recorded.values["actor_rows_total second"]) == (8, 9)
    assert recorded.values["actor_forward_seconds_total first"] == 4


def test_units_move_from_to_do_to_done_and_rejections_are_counted_by_reason() -> None:
    counts, recorded = ProgressCounts(), Recorded()
    so_far = watched(counts, recorded, done=5, to_do=2)
    for unit, rejected in (("one", {"empty_text": 2}), ("two", {"empty_text": 1, "null_text": 4})):
        so_far()
        counts.report_committed(unit, rejected)
    assert (recorded.values["units done"], recorded.values["units to_do"]) == (6, 1)
    so_far()
    assert (recorded.values["units done"], recorded.values["units to_do"]) == (7, 0)
    assert recorded.values["rejected_rows_total empty_text"] == 3
    assert recorded.values["rejected_rows_total null_text"] == 4


def test_retries_of_workers_count_and_those_before_the_start_do_not() -> None:
    counts, recorded = ProgressCounts(), Recorded()
    so_far = watched(counts, recorded)
    so_far()
    assert "s3_retries_total" not in recorded.values
    counts.report_s3_retries("attempt", 3)
    assert so_far().s3_retries == recorded.values["s3_retries_total"] == 3


@pytest.mark.parametrize("recorder", [RayExecutor().recorder, InlineExecutor().recorder])
def test_a_process_without_ray_records_and_nothing_happens(recorder: Callable[[Declared], Record]) -> None:
    counts = ProgressCounts()
    counts.report_progress("unit", progress(3), "actor")
    counts.report_committed("unit", {"null_text": 1})
    counts.report_s3_retries("attempt", 1)
    metrics = RunMetrics("plan", retries_before=0, recorder=recorder)
    assert metrics.watched(counts.so_far, done=0, to_do=1)() == counts.so_far()
