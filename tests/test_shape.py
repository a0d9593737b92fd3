"""Sizes have limits above every ALBERT, and what a file says of its tensors is held against its bytes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from albert_infer.engine import AlbertShape
from albert_infer.engine.shape import DEFAULT_SIZES, MOST_SIZES, MOST_STEPS
from albert_infer.engine.tensors import TensorHeader, albert_tensors, tensor_headers
from albert_infer.errors import ModelError


def shape_of(**sizes: object) -> AlbertShape:
    """Of albert-xxlarge but for `sizes`; with one head, so that any hidden size will do."""
    return AlbertShape.from_config({"model_type": "albert", "num_labels": 3, "num_attention_heads": 1, **sizes})


def file_of(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


@pytest.mark.parametrize("name", MOST_SIZES)
def test_every_size_has_a_limit_with_room_above_the_largest_albert(name: str) -> None:
    beside = {"num_hidden_groups": {"num_hidden_layers": 4096}, "inner_group_num": {"num_hidden_layers": 1}}
    most = MOST_SIZES[name]
    assert most >= 4 * DEFAULT_SIZES[name]
    assert getattr(shape_of(**{**beside.get(name, {}), name: most}), name) == most


@pytest.mark.parametrize("name", MOST_SIZES)
def test_a_size_beyond_its_limit_is_refused_before_anything_is_counted_up_to_it(name: str) -> None:
    for beyond in (MOST_SIZES[name] + 1, 10**12, 10**19):
        with pytest.raises(ModelError, match=f"config.json {name} as a whole number from 1 to .*found {beyond}"):
            shape_of(**{name: beyond})


@pytest.mark.parametrize(
    "sizes",
    [
        {"num_hidden_layers": 4096, "inner_group_num": 2},
        {"num_hidden_layers": 65, "inner_group_num": 64},
        {"num_hidden_layers": 12, "inner_group_num": 4096},
    ],
    ids=str,
)
def test_layers_times_inner_layers_have_a_limit_too(sizes: dict[str, int]) -> None:
    found = "found {num_hidden_layers:,} layers of {inner_group_num:,} inner layers each".format(**sizes)
    with pytest.raises(ModelError, match=found):
        shape_of(**sizes)


def test_groups_that_no_layer_passes_are_refused() -> None:
    with pytest.raises(ModelError, match="13 groups for 12 layers"):
        shape_of(num_hidden_groups=13)


def test_the_most_layers_of_the_most_groups_are_all_listed() -> None:
    shape = shape_of(num_hidden_layers=64, num_hidden_groups=64, inner_group_num=64)
    assert len(albert_tensors(shape)) == 11 + 16 * MOST_STEPS


@pytest.mark.parametrize("labels", [dict.fromkeys(map(str, range(100_000)), "x"), [["x" * 1000]] * 1000], ids=type)
def test_what_was_found_is_told_in_one_short_line(labels: object) -> None:
    with pytest.raises(ModelError, match=r"id2label.*found .{100};") as refused:
        shape_of(id2label=labels)
    assert len(str(refused.value)) < 400


def test_a_header_that_describes_its_bytes_is_read() -> None:
    header = {
        "__metadata__": {"format": "pt"},
        "a": {"dtype": "F16", "shape": [2, 3], "data_offsets": [0, 12]},
        "b": {"dtype": "I4", "shape": [], "data_offsets": [12, 13]},
    }
    found = tensor_headers(file_of(header, bytes(13)))
    assert found == {"a": TensorHeader("F16", (2, 3)), "b": TensorHeader("I4", ())}


TENSOR = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        (b"", "the file has 0 bytes"),
        (file_of(b"{"), "its header cannot be read: it is not JSON"),
        (b"\xff" * 100, "a header at most 2,097,152"),
        ((2**21 + 1).to_bytes(8, "little") + b" " * (2**21 + 1), "a header at most 2,097,152"),
        (file_of(b"[" * 100_000), "nested deeper than 100 levels"),
        (file_of({"a": {**TENSOR, "dtype": ["F32"]}}, bytes(8)), "does not describe tensors"),
        (file_of({"a": {**TENSOR, "shape": "ab"}}, bytes(8)), "does not describe tensors"),
        (file_of({"a": {**TENSOR, "shape": [2.0]}}, bytes(8)), "does not describe tensors"),
        (file_of({"a": {**TENSOR, "shape": [-2]}}, bytes(8)), "does not describe tensors"),
        (file_of({"a": {**TENSOR, "shape": [10**19] * 90_000}}, bytes(8)), "does not describe tensors"),
        (file_of({"a": {**TENSOR, "data_offsets": ["0", "8"]}}, bytes(8)), "does not describe tensors"),
        (file_of({"a": {**TENSOR, "data_offsets": [0, [8]]}}, bytes(8)), "does not describe tensors"),
        (file_of({"a": {**TENSOR, "data_offsets": [8, 0]}}), "does not describe tensors"),
        (file_of({"a": {**TENSOR, "shape": [3]}}, bytes(8)), "more or fewer bytes than its shape needs"),
        (file_of({"a": {**TENSOR, "shape": [10**15, 10**15]}}, bytes(8)), "more or fewer bytes than its shape needs"),
        (file_of({"a": TENSOR}, bytes(7)), "more or fewer bytes than the file has"),
        (file_of(b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 1e999]}}', bytes(8)), "1e999"),
        (file_of(b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, %s]}}' % (b"8" * 5000)), "5,000 digits"),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_a_header_that_is_none_is_a_value_error_with_the_reason(file: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        tensor_headers(file)
