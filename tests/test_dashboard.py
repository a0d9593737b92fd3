"""The dashboard and the page of metrics know the metrics by the names and tags that the code declares."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from albert_infer.pipeline.metrics import ALL

ROOT = Path(__file__).parents[1]
DASHBOARD: dict[str, Any] = json.loads((ROOT / "deploy" / "grafana.json").read_text("utf-8"))
PAGE = ROOT / "docs" / "reference" / "metrics.md"
DECLARED = {each.exported: each for each in ALL}
QUERIES = {panel["title"]: target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]}


def metrics_in(text: str) -> set[str]:
    return set(re.findall(r"\bray_\w+", text))


def test_every_metric_has_its_panel_and_every_panel_a_metric_that_there_is() -> None:
    assert {name for query in QUERIES.values() for name in metrics_in(query)} == DECLARED.keys()
    (plans,) = (each for each in DASHBOARD["templating"]["list"] if each["type"] == "query")
    assert metrics_in(plans["query"]["query"]) <= DECLARED.keys()


@pytest.mark.parametrize("title", QUERIES)
def test_a_query_groups_by_tags_of_its_metric_and_takes_rates_of_counters_alone(title: str) -> None:
    query = QUERIES[title]
    (metric,) = (DECLARED[name] for name in metrics_in(query))
    grouped = {tag.strip() for tags in re.findall(r"\bby \(([^)]*)\)", query) for tag in tags.split(",")}
    matched = set(re.findall(r"(\w+)\s*=~?\s*\"", query))
    assert matched == {"plan_id"}
    assert grouped <= {"plan_id", *metric.tags}
    assert "rate(" not in query or metric.kind == "counter"


def test_the_data_source_is_a_variable_wherever_one_is_named() -> None:
    variables = DASHBOARD["templating"]["list"]
    assert [each["query"] for each in variables if each["name"] == "datasource"] == ["prometheus"]
    named = [each["datasource"] for each in (*variables, *DASHBOARD["panels"]) if "datasource" in each]
    named += [target["datasource"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    assert len(named) == 1 + 2 * len(QUERIES)
    assert all(each == {"type": "prometheus", "uid": "${datasource}"} for each in named)


def test_the_page_has_every_metric_and_its_tags() -> None:
    rows = re.findall(r"^\| `(ray_albert_infer_\w+)` \|([^|]*)\|", PAGE.read_text("utf-8"), re.M)
    assert {name: set(re.findall(r"`(\w+)`", tags)) for name, tags in rows} == {
        name: set(each.tags) for name, each in DECLARED.items()
    }


def test_names_follow_prometheus_conventions() -> None:
    for each in ALL:
        assert each.name.endswith("_total") == (each.kind == "counter")
        assert not re.search("_(ms|percent|minutes|hours)", each.name), "base units"
