"""Planning is measured on files that are planned as real ones are, and the needs of a run follow from their rates."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Final

import pyarrow.parquet as pq
import pytest

from albert_infer.config import LabelSettings
from albert_infer.read.planning import make_plan
from albert_infer.read.survey import FOOTER_THREADS, survey_input
from albert_infer.schema import PROBABILITIES
from benchmarks import made_up, pairs, scale

ASSUMED: Final = scale.Assumptions(
    total_pairs=1_000_000_000,
    input_files=100_000,
    hours=1.0,
    gpu_pairs_per_second=50_000,
    core_tokenized_pairs_per_second=10_000,
    input_bytes_a_pair=36.0,
    output_bytes_a_pair=72.0,
    put_seconds=0.1,
    request_seconds=0.016,
    gpu_hour_price=2.0,
    core_hour_price=0.5,
)


def test_made_up_files_are_planned_as_real_ones_are() -> None:
    settings = LabelSettings(input="in", output="out", unit_rows=40)
    survey = survey_input(made_up.input_of(3, 100), settings)
    plan = make_plan(survey, settings, {}, 512)
    assert (survey.bad, survey.ignored, survey.columns.pair_id) == ((), {}, "pair_id")
    assert [unit.range.rows for unit in plan.units] == [40, 40, 20] * 3
    assert len({unit.unit_id for unit in plan.units}) == 9
    assert plan.files[1].pin.name == "dt=2026-11-21/part-000001.parquet"


@pytest.mark.process
def test_planning_is_measured_in_a_process_of_its_own() -> None:
    small, large = (scale.in_fresh_process(files, 20) for files in (10, 3000))
    assert (small.files, small.rows, small.units) == (10, 200, 10)
    assert (large.rows, large.units) == (60_000, 3000)
    assert large.json_bytes > 200 * small.json_bytes
    assert large.peak_bytes - large.start_bytes > small.peak_bytes - small.start_bytes
    assert min(large.survey_seconds, large.plan_seconds, large.json_seconds) > 0


def test_a_unit_of_real_pairs_says_how_many_bytes_a_pair_takes(tmp_path: Path) -> None:
    written = scale.written_unit(tmp_path, pairs.BUILTIN_PAIRS, None)
    assert written.rows == 306
    stored = sorted((tmp_path / "out").rglob("*.parquet"))
    assert len(stored) == scale.UNITS_WRITTEN
    assert written.output_bytes_a_pair * 306 == pytest.approx(stored[-1].stat().st_size)
    group = pq.read_metadata(stored[-1]).row_group(0)
    chunks = {chunk.path_in_schema: chunk for chunk in (group.column(place) for place in range(group.num_columns))}
    # As those of a model, probabilities hardly compress.
    assert min(chunks[name].total_compressed_size for name in PROBABILITIES) > 3 * 306
    assert written.put_seconds > 0


def test_needs_follow_from_the_rates() -> None:
    found = scale.needs(ASSUMED)
    assert found.pairs_per_second == pytest.approx(277_777.8)
    assert (found.gpus, found.tokenizing_cores, found.units) == (6, 28, 61_036)
    # 61,036 puts of a tenth of a second in an hour.
    assert found.committing_cores == 2
    assert found.read_megabytes_per_second == pytest.approx(10)
    assert found.written_megabytes_per_second == pytest.approx(20)
    assert found.sealed_gigabytes == pytest.approx(72)
    # Three requests a file, two a unit.
    assert found.footer_seconds == pytest.approx(100_000 * 3 * 0.016 / FOOTER_THREADS)
    assert found.seal_and_publish_seconds == pytest.approx(61_036 * 2 * 0.016 / 8)
    assert found.price == pytest.approx(6 * 2.0 + 30 * 0.5)


def test_twice_the_hours_take_half_the_machines_at_about_the_same_price() -> None:
    found, slower = scale.needs(ASSUMED), scale.needs(replace(ASSUMED, hours=2.0))
    assert (slower.gpus, slower.tokenizing_cores) == (3, 14)
    assert slower.price == pytest.approx(found.price, rel=0.1)


@pytest.mark.process
def test_what_is_not_given_is_measured_and_everything_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--files", "5", "--rows-per-file", "30", "--data", str(pairs.BUILTIN_PAIRS), "--put-seconds", "0.5"]
    scale.main([*flags, "--json", str(tmp_path / "told.json")])
    told = json.loads((tmp_path / "told.json").read_text())
    assert told["assumptions"]["put_seconds"] == 0.5
    assert told["assumptions"]["output_bytes_a_pair"] == told["written_unit"]["output_bytes_a_pair"]
    assert told["planned"][0]["rows"] == 150
    assert "tokenizing cores" in capsys.readouterr().out
