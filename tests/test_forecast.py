"""A plan as people and programs read it: in 80 columns, with the right plurals, and as JSON."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from albert_infer.job.estimate.expected import Counts, Seconds, Workers
from albert_infer.job.estimate.forecast import (
    BadFile,
    Cost,
    Forecast,
    LengthCount,
    PlanFacts,
    SampleNotes,
    bytes_text,
    duration,
    histogram,
    length_counts,
)
from albert_infer.job.estimate.rate_table import TABLE
from albert_infer.schema import DeviceKind, ExecutorKind

FOUND = PlanFacts(
    input="s3://inbox/dt=2026-11-21/",
    output="s3://labels/dt=2026-11-21/",
    plan_id="42f032eee9571ba4",
    state="to_label",
    files=12,
    rows=1_200_000,
    bytes=54_321_000,
    left_out={"_SUCCESS": "hidden"},
    quarantined=(BadFile("s3://inbox/dt=2026-11-21/b.parquet", "bad_footer", "no footer", None),),
    units=74,
    units_labelled=10,
    rows_labelled=160_000,
    units_to_do=64,
    rows_to_do=1_040_000,
)
FORECAST = Forecast(
    plan=FOUND,
    sample=SampleNotes(9_984, is_whole=False, seconds=0.84, tokens_margin=0.011, unreadable={"bad_page": 1}),
    counts=Counts(1_199_000, {"empty_text": 1_000}, 33_000_000, 1_190),
    repeated=0.031,
    lengths=(LengthCount(1, 16, 0.25), LengthCount(17, 32, 0.5), LengthCount(33, 64, 0.25)),
    longest=57,
    precision="bf16",
    shape="base",
    workers=Workers(4, DeviceKind.CUDA, "h100", gpus=1.0),
    executor=ExecutorKind.RAY,
    rate=next(entry.rate for entry in TABLE if entry.rate.card == "h100"),
    cost=Cost(Seconds(9, 2, 40, 1), 52, 0.0578, 0.2022),
    price_per_hour=3.5,
    stops=("1 file that cannot be read, and --max-bad-files is 0",),
)
ONE = replace(
    FORECAST,
    plan=replace(
        FOUND,
        left_out={},
        quarantined=(),
        files=1,
        rows=1,
        bytes=999,
        units=1,
        units_labelled=0,
        rows_labelled=0,
        units_to_do=1,
        rows_to_do=1,
    ),
    sample=SampleNotes(1, is_whole=True, seconds=0.0, tokens_margin=0.0, unreadable={}),
    counts=Counts(1, {}, 9, 0),
    repeated=0.0,
    workers=Workers(1, DeviceKind.CPU, "cpu-avx2", cores=1),
    executor=ExecutorKind.PROCESS,
    stops=(),
)


def test_every_line_fits_80_columns() -> None:
    for forecast in (FORECAST, ONE, replace(FORECAST, rate=None, cost=None)):
        lines = forecast.to_text(width=80).splitlines()
        assert max(map(len, lines)) <= 80, lines


def test_a_person_sees_every_figure() -> None:
    text = FORECAST.to_text()
    for line in (
        "input        12 files, 1,200,000 rows, 54.3 MB, in s3://inbox/dt=2026-11-21/",
        "left out     1 object of the input folder",
        "quarantined  1 file: s3://inbox/dt=2026-11-21/b.parquet (bad_footer)",
        "plan         42f032eee9571ba4, 74 units; a run publishes it in s3://labels/dt=2026-11-21/",
        "to do        64 units with 1,040,000 rows; 10 units with 160,000 rows labelled already",
        "sample       9,984 of 1,200,000 rows were read in 0.8 s; 1 part of files cannot be read (bad_page)",
        "labelled     about 1,199,000 pairs",
        "rejected     about empty_text 1,000",
        "tokens       about 33,000,000 (± 1.1%), 27.5 a pair, 57 at most",
        "truncated    about 1,190 pairs, longer than the model reads (0.1%)",
        "duplicates   about 3.1% of the pairs are equal to an earlier one of their unit: computed once",
        "workers      4 workers of 1 GPU (h100), in bf16",
        "time         about 52 s: 2.0 s to list the input, 9.0 s to start, 40 s to label, 1.0 s to publish",
        "device hours about 0.058",
        "cost         about 0.2, at 3.5 an hour",
        "would stop   1 file that cannot be read, and --max-bad-files is 0",
    ):
        assert f"\n{line}\n" in f"\n{text}\n", text
    assert "rate         3,080,000 tokens/s a card: modelled, " in text


def test_the_histogram_follows_the_tokens() -> None:
    lines = FORECAST.to_text(width=80).splitlines()
    place = next(number for number, line in enumerate(lines) if line.startswith("tokens"))
    assert lines[place + 2] == f"{'':12} {'17 to 32':>14}  50.0%  {'#' * 40}"
    assert lines[place + 4].startswith("truncated")


def test_one_of_each_is_singular_and_what_is_none_says_so() -> None:
    text = ONE.to_text()
    assert "1 file, 1 row, 999 B" in text
    assert ", 1 unit; a run" in text
    assert "every row was read" in text
    assert "labelled     1 pair\n" in text
    assert "1 worker of 1 core (cpu-avx2)" in text
    for name in ("quarantined ", "rejected    ", "truncated   "):
        assert f"{name} none\n" in text
    assert "duplicates   none within a unit" in text
    for absent in ("would stop", "left out", "about 1 pair", "±"):
        assert absent not in text


@pytest.mark.parametrize(
    ("state", "text"),
    [
        ("published", "it is published in s3://labels/dt=2026-11-21/, and a run has nothing to do"),
        ("sealed", "it is labelled, and a run publishes it in"),
        ("another_plan", "another plan is published in s3://labels/dt=2026-11-21/: a run needs --replace"),
    ],
)
def test_the_text_says_how_the_output_is(state: str, text: str) -> None:
    assert text in replace(FORECAST, plan=replace(FOUND, state=state)).to_text()


def test_without_a_rate_there_is_no_time_and_the_card_is_asked_for() -> None:
    unknown = Workers(2, DeviceKind.CUDA, None, gpus=1.0)
    text = replace(FORECAST, workers=unknown, rate=None, cost=None).to_text()
    assert "time         not estimated: no rate is known for this GPU in bf16; name the card with --card" in text
    assert "device hours" not in text


def test_names_of_files_stay_on_their_line() -> None:
    bad = BadFile("/in/a\nrejected none.parquet", "bad_footer", "", None)
    text = replace(FORECAST, plan=replace(FOUND, quarantined=(bad,) * 7)).to_text()
    assert text.count("a\\nrejected") == 5
    assert "and 2 more" in text


def test_json_has_every_figure_and_is_one_object() -> None:
    read = json.loads(FORECAST.to_json())
    assert read["plan"]["rows"] == 1_200_000
    assert read["cost"]["seconds"]["labelling"] == 40
    assert read["workers"]["device"] == "cuda"
    assert read["rate"]["basis"] == "modelled"


def test_lengths_are_counted_in_ranges_that_double() -> None:
    counts = length_counts(np.array([5, 16, 17, 40, 40, 64]), 512)
    assert [(count.least, count.most) for count in counts] == [(1, 16), (17, 32), (33, 64)]
    assert [round(count.share * 6) for count in counts] == [2, 1, 3]
    assert length_counts(np.zeros(0, np.int64), 512) == ()
    assert list(histogram(())) == []
    # Windows of a long premise have more tokens together than the model reads at once.
    assert length_counts(np.array([700]), 512)[-1] == LengthCount(513, 1024, 1.0)


DURATIONS = {
    0.04: "0.0 s",
    9.9: "9.9 s",
    51: "51 s",
    119: "119 s",
    125: "2 min",
    3_600: "1 h 0 min",
    100_000: "1 day 3 h",
}


@pytest.mark.parametrize(("seconds", "text"), DURATIONS.items())
def test_a_duration_has_two_units_at_most(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_bytes_have_three_digits_at_most() -> None:
    sizes = {0: "0 B", 999: "999 B", 1_000: "1 kB", 54_321_000: "54.3 MB", 10**15: "1 PB"}
    assert [bytes_text(count) for count in sizes] == list(sizes.values())
