"""Progress counts each unit once, however often it is labelled, and its line can be read."""

from __future__ import annotations

import io
import json
import re
import sys
import time
from contextlib import redirect_stderr
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pairs import PROPERTY

from albert_infer.common import display, logs
from albert_infer.engine.kernel_use import KernelState, KernelUse
from albert_infer.pipeline import progress
from albert_infer.pipeline.progress import ProgressCounts, ShownRun, UnitProgress, progressed
from albert_infer.schema import ComputedBatch, DeviceKind

BATCHES = st.lists(
    st.lists(st.integers(1, 40), min_size=1, max_size=9).map(lambda lengths: np.array(lengths, dtype=np.int64)),
    min_size=1,
    max_size=6,
)


class Terminal(io.StringIO):
    """What is written to a terminal."""

    def isatty(self) -> bool:
        """It is one."""
        return True


def after(batches: list[NDArray[np.int64]]) -> UnitProgress:
    done = UnitProgress()
    for lengths in batches:
        done = done.after(ComputedBatch(lengths, len(lengths), halved=len(lengths) == 1, seconds=0.25))
    return done


@PROPERTY
@given(BATCHES)
def test_a_unit_counts_rows_tokens_what_padding_would_have_cost_and_halved_micro_batches(
    batches: list[NDArray[np.int64]],
) -> None:
    done = after(batches)
    assert done.rows == sum(len(lengths) for lengths in batches)
    assert done.tokens == sum(int(length) for lengths in batches for length in lengths)
    assert done.halved == sum(len(lengths) == 1 for lengths in batches)
    assert done.forward_seconds == len(batches) / 4
    assert done.padded_tokens == sum(len(lengths) * max(lengths.tolist()) for lengths in batches)


@PROPERTY
@given(batches=BATCHES, attempts=st.integers(1, 3))
def test_a_unit_that_is_labelled_again_counts_once(batches: list[NDArray[np.int64]], attempts: int) -> None:
    counts = ProgressCounts()
    counts.report_progress("other", UnitProgress(1, 2, 3, 4, 0.5), "second")
    for attempt in range(attempts):
        for end in range(1, len(batches) + 1):
            counts.report_progress("unit", after(batches[:end]), f"actor {attempt}")
    whole = after(batches)
    so_far = counts.so_far()
    assert so_far.units == 2
    assert so_far.actors == {"second": UnitProgress(1, 2, 3, 4, 0.5), f"actor {attempts - 1}": whole}
    assert so_far.done == UnitProgress.total(so_far.actors.values())
    assert so_far.done.rows == whole.rows + 1
    assert so_far.done.halved == whole.halved + 4
    assert 0 <= so_far.padding_share < 1


def test_before_the_first_batch_there_is_nothing_to_tell() -> None:
    so_far = ProgressCounts().so_far()
    assert (so_far.units, so_far.done, so_far.first_reported, so_far.padding_share) == (0, UnitProgress(), None, 0.0)


def test_the_padding_share_is_of_the_padded_cells() -> None:
    counts = ProgressCounts()
    counts.report_progress("unit", UnitProgress().after(ComputedBatch(np.array([10, 30]), 2, halved=False, seconds=0)))
    assert counts.so_far().padding_share == pytest.approx(1 - 40 / 60)


def test_commits_rejections_and_retries_count_once_however_often_they_are_told() -> None:
    counts = ProgressCounts()
    for _ in range(2):
        counts.report_committed("one", {"empty_text": 2})
        counts.report_committed("two", {"empty_text": 1, "invalid_utf8": 3})
        counts.report_committed("quarantined", {})
        counts.report_s3_retries("attempt", 4)
    counts.report_s3_retries("another", 1)
    so_far = counts.so_far()
    assert (so_far.committed, so_far.rejected) == (3, {"empty_text": 3, "invalid_utf8": 3})
    assert so_far.s3_retries == 5


def test_the_busy_share_is_of_the_time_from_an_actors_first_message_to_its_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = iter([10.0, 12.0, 30.0, 31.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    counts = ProgressCounts()
    assert counts.so_far().device_busy_share == 0
    for actor, seconds in (("one", 0.0), ("one", 1.5), ("two", 0.0), ("two", 0.6)):
        counts.report_progress(f"unit of {actor}", UnitProgress(forward_seconds=seconds), actor)
    # Actor one was at work from 10 to 12, actor two from 30 to 31.
    assert counts.so_far().device_busy_share == pytest.approx(2.1 / 3)


def test_each_lost_gpu_is_warned_of_once(capsys: pytest.CaptureFixture[str]) -> None:
    counts = ProgressCounts()
    with logs.lines_on_stderr("text"), progress.shown(9, 0, counts.so_far, DeviceKind.CUDA):
        for number in (1, 2):
            counts.report_lost_device(f"the GPU of a worker on node-{number} is lost")
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert [line.partition(";")[0] for line in lines] == [
        f"warning: the GPU of a worker on node-{number} is lost" for number in (1, 2)
    ]


def test_workers_without_kernels_get_one_warning_and_only_if_there_is_something_to_do(
    capsys: pytest.CaptureFixture[str],
) -> None:
    counts = ProgressCounts()
    asked, missing = "int8 on cpu", KernelState.MISSING
    with logs.lines_on_stderr("text"), progress.shown(9, 0, counts.so_far, DeviceKind.CPU):
        counts.report_device(DeviceKind.CPU, KernelUse("a", asked, missing, "the processor has no bf16"))
        for name in ("b", "c"):
            counts.report_device(DeviceKind.CPU, KernelUse(name, asked, missing, "no compiler", "install one"))
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    reason = "compiled kernels for int8 on cpu: no compiler, so labelling is slower; install one"
    assert lines == [f"warning: a worker on b: {reason}"]
    assert len(counts.so_far().kernels) == 3


def told(log_format: logs.LogFormat, total: int, done: int, speed: float) -> str:
    stderr = io.StringIO()
    with redirect_stderr(stderr), logs.lines_on_stderr(log_format):
        line = progressed(total, done, speed)
        logs.log("labelling", line.text, line.fields)
    return stderr.getvalue()


def test_a_line_tells_rows_share_speed_and_time_left() -> None:
    line = told("text", 1_000_000, 250_000, 5_000.0)
    for part in ("250,000 of 1,000,000", "25%", "5,000 pairs/s", "0:02:30 left"):
        assert part in line
    assert line.count("\n") == 1


def test_a_line_before_the_first_row_tells_no_speed() -> None:
    line = told("text", 1_000, 100, 0.0)
    assert "100 of 1,000" in line
    assert "pairs/s" not in line


def test_a_line_before_the_first_row_tells_the_step() -> None:
    assert progressed(1_000, 0, 0.0).text == "labelling: 0 of 1,000 pairs, starting"
    assert progressed(1_000, 0, 0.0, "checking the model").text == "labelling: 0 of 1,000 pairs, checking the model"


def test_a_log_has_each_step_at_once_and_a_terminal_in_its_moving_line() -> None:
    stderr = io.StringIO()
    with redirect_stderr(stderr), logs.lines_on_stderr("text"):
        ShownRun().begin("checking the model on one worker")
    assert stderr.getvalue() == "labelling: checking the model on one worker\n"
    terminal = Terminal()
    with redirect_stderr(terminal), logs.lines_on_stderr("text"):
        run = ShownRun()
        run.begin("checking the model on one worker")
    assert (terminal.getvalue(), run.step) == ("", "checking the model on one worker")


def test_in_a_notebook_one_output_of_the_cell_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = type("OutStream", (io.StringIO,), {"__module__": "ipykernel.iostream"})()
    outputs: list[str] = []

    class Handle:
        def update(self, data: dict[str, str], *, raw: bool) -> None:
            """Replace the output."""
            assert raw
            outputs[-1] = data["text/plain"]

    def show(data: dict[str, str], *, raw: bool, display_id: bool) -> Handle:
        assert raw
        assert display_id
        outputs.append(data["text/plain"])
        return Handle()

    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=show))
    done = iter(range(5, 11))
    with redirect_stderr(cell), display.shown("labelling", lambda: progressed(10, next(done), 5.0)):
        pass
    assert cell.getvalue() == ""
    assert len(outputs) == 1
    assert outputs[0].startswith("labelling: 6 of 10 pairs (60%), 5 pairs/s")


@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_moving_line_fits_the_terminal_and_has_all_of_the_text(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    now = progressed(1_000_000, 250_000, 5_000.0)
    terminal = Terminal()
    with redirect_stderr(terminal), display.shown("labelling", lambda: now):
        pass
    shown = re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", terminal.getvalue())
    lines = [line for line in re.split(r"[\r\n]+", shown) if line.strip()]
    assert max(map(len, lines)) <= width
    assert now.text[: width - 5] in lines[-1]
    assert (now.text in lines[-1]) == (width >= len(now.text) + 5)


@pytest.mark.parametrize(("speed", "left"), [(5_000.0, 150), (0.0, None)])
def test_a_line_in_json_has_the_same_as_numbers(speed: float, left: int | None) -> None:
    facts = {"rows_done": 250_000, "rows_total": 1_000_000, "pairs_per_second": speed, "seconds_left": left}
    line = json.loads(told("json", 1_000_000, 250_000, speed))
    assert facts.items() <= line.items()
    assert line["event"] == "labelling"
