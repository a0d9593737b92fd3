"""What Prometheus scrapes of a run is what its report says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from forked import run_probe
from job_runs import made_up_pairs, report_of, write_pairs
from metrics_probe import probe
from s3_faults import FaultProxy, Rule
from s3_place import Place
from s3_server import S3Location

from albert_infer.pipeline import metrics

pytestmark = [pytest.mark.ray, pytest.mark.s3]

# Requests of the driver and of both kinds of workers.
FAULTS = (
    Rule("status", "GET", r"/in/pairs/", times=3),
    Rule("status", "PUT", r"/_units/", times=2),
    Rule("status", "PUT", r"/_SUCCESS"),
)


@dataclass(frozen=True)
class Scraped:
    """What the endpoint served, and the reports of the two runs."""

    samples: list[tuple[str, dict[str, str], float]]
    on_s3: dict[str, Any]
    local: dict[str, Any]
    faults: int

    def values(self, name: str, report: dict[str, Any], tag: str = "") -> dict[str, float]:
        """The values of a metric for one plan, by a tag."""
        return {
            tags.get(tag, ""): value
            for found, tags, value in self.samples
            if found == f"ray_albert_infer_{name}" and tags["plan_id"] == report["plan_id"]
        }


@pytest.fixture(scope="module")
def scraped(s3_server: Any, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraped]:
    """Label on S3, where requests fail, then other pairs on disk, in one process."""
    folder = tmp_path_factory.mktemp("metrics")
    location: S3Location = s3_server.location("metrics")
    place = Place(location)
    pairs = made_up_pairs(60, seed=6)
    bad = pa.table({"premise": [None, " ", " ", "w1"], "hypothesis": ["w1", "w2", "w3", None]})
    write_pairs(folder / "up" / "a.parquet", pa.concat_tables([pairs, bad], promote_options="default"))
    write_pairs(folder / "in" / "b.parquet", made_up_pairs(20, seed=7))
    place.upload(folder / "up")
    with FaultProxy(location.endpoint, FAULTS) as proxy:
        common = ("--model", checkpoint, "--unit-rows", 16, "--max-rejected-share", 0.5)
        on_s3 = (*place.argv(), "--s3-endpoint", proxy.endpoint, *common)
        local = ("--input", folder / "in", "--output", folder / "out", *common)
        # A gauge is served for two intervals after it was set, and must be scraped until then.
        env = {**location.env, "RAY_metrics_report_interval_ms": "3000"}
        told = run_probe(probe, on_s3, local, env=env)
        assert told["codes"] == [0, 0]
        report = json.loads(place.read(f"_runs/{place.manifest()['plan_id']}/report.json"))
        yield Scraped(told["samples"], report, report_of(folder / "out"), proxy.faults.total())


def test_rows_tokens_and_padding_are_those_of_the_report(scraped: Scraped) -> None:
    for report, rows in ((scraped.on_s3, 60), (scraped.local, 20)):
        assert report["labelled"] == rows
        assert scraped.values("rows_total", report) == {"": rows}
        assert scraped.values("tokens_total", report) == {"": report["tokens"]}
        assert scraped.values("padding_ratio", report) == {"": pytest.approx(report["padding_share"])}


def test_rejections_are_counted_by_reason(scraped: Scraped) -> None:
    assert scraped.on_s3["rejected"] == {"empty_text": 2, "null_text": 2}
    assert scraped.values("rejected_rows_total", scraped.on_s3, "reason") == scraped.on_s3["rejected"]
    assert scraped.values("rejected_rows_total", scraped.local, "reason") == {}


def test_in_the_end_all_units_are_done(scraped: Scraped) -> None:
    assert scraped.values("units", scraped.on_s3, "state") == {"done": 4, "to_do": 0}
    assert scraped.values("units", scraped.local, "state") == {"done": 2, "to_do": 0}


def test_requests_to_s3_that_driver_or_workers_sent_again_are_counted_for_their_run_alone(scraped: Scraped) -> None:
    assert scraped.faults == 6
    assert scraped.values("s3_retries_total", scraped.on_s3) == {"": scraped.faults}
    assert scraped.values("s3_retries_total", scraped.local) == {}


def test_every_worker_has_its_part_of_the_rows_and_was_busy_for_a_part_of_the_time(scraped: Scraped) -> None:
    for report in (scraped.on_s3, scraped.local):
        rows = scraped.values("actor_rows_total", report, "actor")
        assert sum(rows.values()) == report["labelled"]
        assert all(re.fullmatch("[0-9a-f]{32}", actor) for actor in rows), "as `ray list actors` names them"
        busy = scraped.values("actor_forward_seconds_total", report, "actor")
        assert busy.keys() == rows.keys()
        assert all(0 < seconds < report["seconds"]["labelling"] for seconds in busy.values())


def test_every_metric_that_is_declared_was_served_and_no_other(scraped: Scraped) -> None:
    assert {name for name, _, _ in scraped.samples} == {each.exported for each in metrics.ALL}
