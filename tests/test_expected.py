"""From a sample and a rate to counts and seconds."""

from __future__ import annotations

from functools import partial

import pytest
from test_rate_table import BASE

from albert_infer.job.estimate import expected
from albert_infer.job.estimate.earlier import EarlierRun
from albert_infer.job.estimate.expected import Counts, Estimate, Sampled, Seconds, Speed, Work, Workers, speed_of
from albert_infer.job.estimate.rate_table import rate_of
from albert_infer.schema import DeviceKind, ExecutorKind, Precision

SAMPLE = Sampled(rows=100, tokens=2_800, truncated=2, rejected={"null_text": 1, "empty_text": 4})
CPU = Workers(1, DeviceKind.CPU, "cpu-avx512-bf16", cores=2)
# Of an executor.
STARTUP = expected.STARTUP_SECONDS[ExecutorKind.PROCESS]
seconds_of = partial(expected.seconds_of, executor=ExecutorKind.PROCESS)
RUN = EarlierRun("p", "d", DeviceKind.CPU, None, Precision.BF16, 2_000.0, 1, 2.0, 5.0, 0.5)


def speed(precision: Precision = Precision.BF16, runs: tuple[EarlierRun, ...] = (), workers: Workers = CPU) -> Speed:
    found = speed_of(runs, digest="d", shape=BASE, precision=precision, workers=workers)
    assert found is not None
    return found


def test_counts_are_those_of_the_sample_times_the_rows() -> None:
    counts = Counts.of(SAMPLE, 1_000)
    assert counts == Counts(950, {"empty_text": 40, "null_text": 10}, 28_000, 20)
    assert Counts.of(Sampled(0, 0, 0, {}), 1_000) == Counts(0, {}, 0, 0)


def test_time_is_tokens_by_rate_and_the_comparison_with_fp32() -> None:
    work = Work(rows=1_000, units=1, all_rows=1_000, compared_pairs=500)
    seconds = seconds_of(work, SAMPLE, speed(), CPU, planning=1.5)
    assert seconds.labelling == pytest.approx(28_000 / 2_230)
    assert seconds.startup == pytest.approx(STARTUP + 14_000 / 2_230 + 14_000 / 1_132)
    assert seconds.total == pytest.approx(seconds.startup + 1.5 + seconds.labelling + seconds.publishing)
    assert seconds_of(work, SAMPLE, speed(Precision.FP32), CPU, planning=0).startup == STARTUP


def test_no_more_workers_are_busy_than_there_are_units() -> None:
    four = Workers(4, DeviceKind.CPU, "cpu-avx512-bf16", cores=2)
    times = [
        seconds_of(Work(1_000, units, 1_000), SAMPLE, speed(workers=four), four, planning=0).labelling
        for units in (1, 2, 4, 9)
    ]
    assert times == pytest.approx([times[0], times[0] / 2, times[0] / 4, times[0] / 4])


def test_pairs_that_repeat_are_computed_once() -> None:
    half = Sampled(100, 2_800, 2, {}, repeated=0.5)
    work = Work(1_000, 1, 1_000)
    once, twice = (seconds_of(work, sample, speed(), CPU, planning=0).labelling for sample in (half, SAMPLE))
    assert once == pytest.approx(twice / 2)
    # The rate of an earlier run has its own share of such pairs in it.
    earlier = speed(runs=(RUN,))
    once, twice = (seconds_of(work, sample, earlier, CPU, planning=0).labelling for sample in (half, SAMPLE))
    assert once == twice


def test_an_earlier_run_wins_over_the_table() -> None:
    found = speed(runs=(RUN,))
    assert (found.rate.basis, found.rate.tokens_per_second) == ("earlier runs", 2_000)
    assert found.rate.where.startswith("the last run at")
    seconds = seconds_of(Work(1_000, 4, 1_000, 500), SAMPLE, found, CPU, planning=0, executor=ExecutorKind.RAY)
    assert (seconds.startup, seconds.publishing) == (5.0, 2.0)
    # The earlier run was on Ray, so it does not say how long a start without Ray takes.
    assert seconds_of(Work(1_000, 1, 1_000), SAMPLE, found, CPU, planning=0).startup == STARTUP
    assert speed(runs=(RUN, RUN)).rate.where.startswith("the last 2 runs")
    assert speed(precision=Precision.FP32, runs=(RUN,)).rate.basis == "measured"


def test_nothing_to_do_takes_no_start() -> None:
    seconds = seconds_of(Work(0, 0, 1_000), SAMPLE, speed(), CPU, planning=0.5)
    assert seconds == Seconds(0.0, 0.5, 0.0, 0.0)


def test_a_card_of_which_nothing_is_known_has_no_speed() -> None:
    unknown = Workers(1, DeviceKind.CUDA, None, gpus=1.0)
    assert speed_of([], digest="d", shape=BASE, precision=Precision.BF16, workers=unknown) is None


def test_differences_are_shares_of_the_estimate() -> None:
    rate = rate_of("h100", BASE, Precision.BF16)
    estimate = Estimate(100, Counts(950, {"null_text": 50}, 28_000, 0), Seconds(10, 0, 5, 1), "h100", 1, rate)
    compared = estimate.compared(
        {"labelled": 950, "rejected": 25, "tokens": 29_400, "truncated": 3, "seconds.total": 8}
    )
    assert compared.differences == {"labelled": 0.0, "rejected": -0.5, "tokens": 0.05, "seconds.total": -0.5}
