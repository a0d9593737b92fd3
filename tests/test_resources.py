"""Who runs where: actors that can be scheduled, and always a CPU left for reading."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pairs import PROPERTY, settings_for

from albert_infer.config import PrecisionSetting
from albert_infer.engine.processor import resolved_precision
from albert_infer.errors import SettingsError
from albert_infer.pipeline.resources import Node, WorkerResources, commits_at_once, worker_resources
from albert_infer.schema import DeviceKind, Precision

CPU, CUDA = DeviceKind.CPU, DeviceKind.CUDA
NODES = st.lists(st.builds(Node, cpus=st.sampled_from([0, 0.5, 1, 1.5, 2, 3, 8, 64]), gpus=st.just(0)), max_size=4)


def resources(nodes: list[Node], **settings: Any) -> WorkerResources:
    return worker_resources(settings_for(Path("in"), **settings), nodes)


@pytest.mark.parametrize(
    ("nodes", "settings", "expected"),
    [
        # device, least and most actors, GPUs and CPUs of each, threads of each
        ([Node(1, 0)], {}, (CPU, 1, 1, 0, 0, 1)),
        ([Node(2, 0)], {}, (CPU, 1, 1, 0, 1, 2)),
        ([Node(4, 0)], {}, (CPU, 1, 1, 0, 3, 4)),
        ([Node(8, 0)], {}, (CPU, 1, 1, 0, 4, 8)),
        ([Node(9, 0)], {}, (CPU, 2, 2, 0, 4, 4)),
        ([Node(64, 0)], {}, (CPU, 15, 15, 0, 4, 4)),
        ([Node(1, 0)] * 3, {}, (CPU, 2, 2, 0, 1, 1)),
        ([Node(0, 0), Node(4, 0)], {}, (CPU, 1, 1, 0, 3, 4)),
        ([Node(4, 0)], {"cpus_per_worker": 1}, (CPU, 3, 3, 0, 1, 1)),
        ([Node(4, 0)], {"cpus_per_worker": 0}, (CPU, 1, 1, 0, 0, 4)),
        ([Node(8, 0)], {"workers": "2", "cpus_per_worker": 2}, (CPU, 2, 2, 0, 2, 4)),
        ([Node(8, 0)], {"workers": "1:9", "cpus_per_worker": 2}, (CPU, 1, 3, 0, 2, 2)),
        # no most actors: as many as there are GPUs, also of nodes that come later
        ([Node(8, 1)], {}, (CUDA, 1, None, 1, 0, None)),
        ([Node(1, 1)], {}, (CUDA, 1, None, 1, 0, None)),
        ([Node(8, 2), Node(8, 2)], {}, (CUDA, 1, None, 1, 0, None)),
        ([Node(8, 2), Node(8, 1)], {"gpus_per_worker": 0.5}, (CUDA, 1, None, 0.5, 0, None)),
        ([Node(8, 4)], {"workers": "2:3"}, (CUDA, 2, 3, 1, 0, None)),
        ([Node(8, 1)], {"gpus_per_worker": 0, "cpus_per_worker": 3}, (CPU, 2, 2, 0, 3, 4)),
        # waiting for GPUs: what the cluster has by now decides nothing
        ([Node(4, 0)], {"gpu_wait_minutes": 60}, (CUDA, 1, None, 1, 0, None)),
        ([Node(0, 0)], {"gpu_wait_minutes": 60}, (CUDA, 1, None, 1, 0, None)),
        ([Node(8, 1)], {"gpu_wait_minutes": 60, "workers": "4:8"}, (CUDA, 4, 8, 1, 0, None)),
        ([Node(4, 0)], {"gpu_wait_minutes": 60, "gpus_per_worker": 0.5}, (CUDA, 1, None, 0.5, 0, None)),
    ],
)
def test_actors_follow_from_the_cluster_and_the_settings(
    nodes: list[Node], settings: dict[str, Any], expected: tuple[Any, ...]
) -> None:
    assert resources(nodes, **settings) == WorkerResources(*expected)


@pytest.mark.parametrize(
    ("cpus", "most_workers", "commits"), [(1, 1, 2), (2, 1, 2), (7.5, 3, 7), (64, 8, 16), (2, None, 16)]
)
def test_units_are_committed_by_as_many_tasks_as_there_are_cpus(
    cpus: float, most_workers: int | None, commits: int
) -> None:
    assert commits_at_once(WorkerResources(CPU, 1, most_workers, 0, 1, 1), cpus) == commits


@pytest.mark.parametrize(
    ("nodes", "settings"),
    [
        ([], {}),
        ([Node(0, 1)], {}),
        ([Node(0.5, 0), Node(0.5, 0)], {}),
        ([Node(4, 0)], {"cpus_per_worker": 4}),
        ([Node(4, 0)], {"workers": "2", "cpus_per_worker": 2}),
        ([Node(4, 0)], {"workers": "4:8", "cpus_per_worker": 1}),
        ([Node(2, 0), Node(2, 0)], {"cpus_per_worker": 3}),
        ([Node(8, 0)], {"gpus_per_worker": 1}),
        ([Node(8, 1)], {"workers": "2"}),
        ([Node(8, 0.5), Node(8, 0.5)], {"gpus_per_worker": 1}),
    ],
)
def test_what_could_never_be_scheduled_is_refused(nodes: list[Node], settings: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        resources(nodes, **settings)


@PROPERTY
@given(
    nodes=NODES,
    workers=st.sampled_from([None, "1", "2", "1:4", "3:9"]),
    cpus_per_worker=st.sampled_from([None, 0, 1, 2, 5]),
)
def test_the_actors_leave_a_whole_cpu_for_reading_on_some_node(
    nodes: list[Node], workers: str | None, cpus_per_worker: int | None
) -> None:
    try:
        found = resources(nodes, workers=workers, cpus_per_worker=cpus_per_worker)
    except SettingsError:
        return
    assert found.max_workers is not None
    assert 1 <= found.min_workers <= found.max_workers
    if found.num_cpus:
        room = sum(int(node.cpus // found.num_cpus) for node in nodes)
        assert found.max_workers <= room
    # Ray may place actors as it likes: they can at worst fill every node but one down to less than a CPU.
    whole = sum(int(node.cpus) for node in nodes)
    assert whole - found.max_workers * found.num_cpus >= 1


@PROPERTY
@given(nodes=NODES)
def test_without_settings_any_cluster_with_a_cpu_labels(nodes: list[Node]) -> None:
    if any(node.cpus >= 1 for node in nodes):
        assert resources(nodes).min_workers >= 1


@pytest.mark.parametrize(
    ("asked", "device", "flags", "precision"),
    [
        ("auto", CUDA, frozenset(), Precision.BF16),
        ("auto", CPU, frozenset({"avx2"}), Precision.FP32),
        ("auto", CPU, frozenset({"avx2", "amx_bf16"}), Precision.BF16),
        ("auto", CPU, frozenset({"avx512_bf16"}), Precision.BF16),
        ("fp32", CUDA, frozenset(), Precision.FP32),
        ("bf16", CPU, frozenset(), Precision.BF16),
        ("int8", CPU, frozenset(), Precision.INT8),
        ("fp16", CUDA, frozenset(), Precision.FP16),
    ],
)
def test_auto_is_bf16_where_the_device_computes_in_it(
    asked: PrecisionSetting, device: DeviceKind, flags: frozenset[str], precision: Precision
) -> None:
    assert resolved_precision(asked, device, flags) == precision


def test_int8_on_a_gpu_is_refused() -> None:
    with pytest.raises(SettingsError, match="int8 is for CPUs"):
        resolved_precision("int8", CUDA, frozenset())
