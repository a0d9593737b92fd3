"""A checkpoint is verified before it is used: which output means what, whose tokenizer it is, and every byte."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from checkpoints import sentencepiece_model
from numpy.typing import NDArray
from pairs import wordpiece
from safetensors.numpy import save_file

from albert_infer.engine import AlbertShape
from albert_infer.engine.tensors import albert_tensors
from albert_infer.errors import ModelError
from albert_infer.model import hub
from albert_infer.model.calibration import CALIBRATION, calibration_json
from albert_infer.model.checkpoint import Checkpoint, load_checkpoint
from albert_infer.model.checkpoint_files import name_anywhere
from albert_infer.model.known_files import WEIGHTS
from albert_infer.prepare.tokenization import PairTokenizer
from albert_infer.schema import NliLabel

CONFIG = {
    "model_type": "albert",
    "architectures": ["AlbertForSequenceClassification"],
    "vocab_size": 64,
    "embedding_size": 4,
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_attention_heads": 2,
    "max_position_embeddings": 32,
}
TENSOR = "albert.encoder.albert_layer_groups.0.albert_layers.0.ffn.weight"
E, N, C = NliLabel
MNLI = ("entailment", "neutral", "contradiction")


def saved(folder: Path, labels: Sequence[str] = MNLI, **config: Any) -> Path:
    """A folder that is a checkpoint as far as the driver looks: config, tokenizer, and weights that are all 0."""
    folder.mkdir(parents=True, exist_ok=True)
    names = {str(number): name for number, name in enumerate(labels)}
    (folder / "config.json").write_text(json.dumps({**CONFIG, "id2label": names, **config}))
    (folder / "tokenizer.json").write_text(wordpiece().to_str())
    save_file(zeros(**{name: size for name, size in config.items() if name == "vocab_size"}), folder / WEIGHTS)
    return folder


def zeros(**config: int) -> dict[str, NDArray[np.float32]]:
    """The tensors of `CONFIG`."""
    shape = AlbertShape.from_config({**CONFIG, "num_labels": 3, **config})
    return {name: np.zeros(size, np.float32) for name, size in albert_tensors(shape).items()}


def loaded(folder: Path, *label_order: str) -> Checkpoint:
    return load_checkpoint(str(folder), label_order=label_order)


def refusal(source: Path | str, *label_order: str) -> str:
    with pytest.raises(ModelError) as refused:
        load_checkpoint(str(source), label_order=label_order)
    return str(refused.value)


@pytest.mark.parametrize("names", [*permutations(["entailment", "NEUTRAL", "Contradiction"])])
def test_labels_are_found_by_their_names_in_any_order_and_case(tmp_path: Path, names: tuple[str, ...]) -> None:
    assert loaded(saved(tmp_path, names)).label_order == tuple(NliLabel(name.lower()) for name in names)


@pytest.mark.parametrize(
    ("names", "order"),
    [
        (("SUPPORTS", "REFUTES", "NOT ENOUGH INFO"), (E, C, N)),
        (("refuted", "not_enough_info", "supported"), (C, N, E)),
        (("contradicts", "entails", "not-enough-information"), (C, E, N)),
        (("contradictory", "Entail", "NEI"), (C, E, N)),
        (("unknown", "contradict", "entailed"), (N, C, E)),
    ],
)
def test_other_names_of_the_labels_are_known(
    tmp_path: Path, names: tuple[str, ...], order: tuple[NliLabel, ...]
) -> None:
    assert loaded(saved(tmp_path, names)).label_order == order


def test_outputs_are_numbered_as_numbers(tmp_path: Path) -> None:
    names = {"2": "contradiction", "0": "neutral", "1": "entailment"}
    assert loaded(saved(tmp_path, id2label=names)).label_order == (N, E, C)


@pytest.mark.parametrize("names", [("LABEL_0", "LABEL_1", "LABEL_2"), ("yes", "no", "maybe"), ("neutral",) * 3])
def test_labels_without_meaning_are_refused_with_the_orders_that_are_in_use(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    told = refusal(saved(tmp_path, names))
    assert "--label-order" in told
    for order in (
        "entailment,neutral,contradiction",
        "contradiction,entailment,neutral",
        "entailment,contradiction,neutral",
    ):
        assert order in told


@pytest.mark.parametrize("order", [*permutations(MNLI)])
def test_the_operator_may_say_what_nameless_labels_mean(tmp_path: Path, order: tuple[str, ...]) -> None:
    assert loaded(saved(tmp_path, ("LABEL_0", "LABEL_1", "LABEL_2")), *order).label_order == order


def test_the_operator_may_overrule_what_the_checkpoint_calls_its_outputs_and_both_orders_are_known(
    tmp_path: Path,
) -> None:
    folder = saved(tmp_path, ("contradiction", "entailment", "neutral"))
    overruled = loaded(folder, "entailment", "neutral", "contradiction")
    assert (overruled.label_order, overruled.named_order) == ((E, N, C), (C, E, N))
    assert loaded(folder).label_order == (C, E, N)


def test_names_without_meaning_say_no_order(tmp_path: Path) -> None:
    assert loaded(saved(tmp_path, ("LABEL_0", "LABEL_1", "LABEL_2")), *MNLI).named_order is None


@pytest.mark.parametrize("order", [("entailment",), ("yes", "no", "maybe"), ("entailment", "neutral", "neutral")])
def test_a_label_order_that_is_none_is_refused(tmp_path: Path, order: tuple[str, ...]) -> None:
    assert ",".join(order) in refusal(saved(tmp_path, ("LABEL_0", "LABEL_1", "LABEL_2")), *order)


@pytest.mark.parametrize("names", [("entailment", "not_entailment"), ("a", "b", "c", "d")])
def test_a_checkpoint_without_three_labels_is_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    assert f"{len(names)} labels" in refusal(saved(tmp_path, names))


@pytest.mark.parametrize(
    "labels",
    [
        {"id2label": None, "num_labels": 3},
        {"id2label": None},
        {"id2label": {}},
        {"id2label": {"0": "no", "1": "yes"}, "num_labels": 3},
        {"id2label": {"0": "no", "1": "yes"}},
        {"id2label": {str(number): "" for number in range(5)}},
    ],
    ids=str,
)
def test_three_outputs_in_the_weights_and_an_order_are_enough(tmp_path: Path, labels: dict[str, Any]) -> None:
    folder = saved(tmp_path, **labels)
    checkpoint = loaded(folder, *MNLI)
    assert (checkpoint.label_order, checkpoint.named_order, checkpoint.shape.num_labels) == ((E, N, C), None, 3)
    assert "name the labels with --label-order" in refusal(folder)


@pytest.mark.parametrize(
    "names", [{"0": "entailment", "1": "neutral", "3": "contradiction"}, {"a": "x", "b": "y", "c": "z"}]
)
def test_labels_that_are_not_numbered_from_0_are_refused(tmp_path: Path, names: dict[str, str]) -> None:
    assert "id2label" in refusal(saved(tmp_path, id2label=names))


@pytest.mark.parametrize("missing", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_missing_file_is_refused_by_name(tmp_path: Path, missing: str) -> None:
    (saved(tmp_path) / missing).unlink()
    assert missing in refusal(tmp_path)


@pytest.mark.parametrize("source", ["nowhere", "./no/where", "a hub id without revision"])
def test_a_missing_folder_is_refused_with_what_a_model_may_be(source: str) -> None:
    told = refusal(source)
    assert source in told
    assert "name@revision" in told


@pytest.mark.parametrize("pickle", ["pytorch_model.bin", "model.pt", "tf_model.h5"])
def test_pickled_weights_beside_safetensors_are_never_opened(tmp_path: Path, pickle: str) -> None:
    folder = saved(tmp_path)
    (folder / pickle).write_bytes(b"never opened")
    assert pickle not in loaded(folder).digests


def test_a_checkpoint_that_wants_to_run_code_is_refused(tmp_path: Path) -> None:
    assert "auto_map" in refusal(saved(tmp_path, auto_map={"AutoModel": "modeling.Custom"}))


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"model_type": "bert"}, "bert"),
        ({"architectures": ["AlbertForMaskedLM"]}, "AlbertForMaskedLM"),
        ({"hidden_act": "prelu"}, "prelu"),
        ({"num_attention_heads": 3}, "num_attention_heads"),
    ],
)
def test_another_architecture_is_refused(tmp_path: Path, config: dict[str, Any], named: str) -> None:
    assert named in refusal(saved(tmp_path, **config))


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "tokenizer.json"])
@pytest.mark.parametrize(
    "text", [b"{", b"[]", b"null", b"\xff\xfe", '{"a": 1}'.encode("utf-16"), b'{"a": "\xed\xa0\x80"}']
)
def test_a_broken_file_is_refused(tmp_path: Path, name: str, text: bytes) -> None:
    (saved(tmp_path) / name).write_bytes(text)
    told = refusal(tmp_path)
    assert name.removesuffix("_config.json").removesuffix(".json") in told


DEEP = b'{"a":' * 50_000 + b"1" + b"}" * 50_000


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "calibration.json", "tokenizer.json"])
def test_nested_json_is_refused(tmp_path: Path, name: str) -> None:
    (saved(tmp_path) / name).write_bytes(DEEP)
    told = refusal(tmp_path)
    assert f"{name} cannot be read: it is nested deeper" in told or "its tokenizer cannot be read" in told


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "tokenizer.json", "spiece.model"])
def test_a_file_of_a_terabyte_is_refused_unread(tmp_path: Path, name: str) -> None:
    path = saved(tmp_path) / name
    path.touch()
    os.truncate(path, 2**40)
    assert f"{name} has 1,099,511,627,776 bytes, and at most" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ('"num_hidden_layers": 100000000', "num_hidden_layers as a whole number from 1 to"),
        ('"inner_group_num": 1000000000000', "inner_group_num as a whole number from 1 to"),
        ('"num_hidden_layers": 1e8', "found 100000000.0"),
        ('"num_hidden_layers": 1e999', "1e999, which is too large"),
        (f'"hidden_size": 1{"0" * 4000}', "a whole number of 4,001 digits"),
        (f'"hidden_size": 1{"0" * 9000}', "a whole number of 9,001 digits"),
        ('"layer_norm_eps": NaN', "NaN"),
        ('"vocab_size": [[[]]]', "found [[[]]]"),
        ('"id2label": null, "num_labels": 3', "its labels have the names ['LABEL_0', 'LABEL_1', 'LABEL_2']"),
        ('"id2label": 3', "found 3"),
        ('"id2label": {"0": {"a": 1}, "1": null, "2": []}', "its labels have the names"),
        (rf'"id2label": {{{", ".join(f"{chr(34)}{n}{chr(34)}: 1" for n in range(4000))}}}', "4,000 labels"),
    ],
    ids=lambda value: value[:40],
)
def test_a_config_with_values_that_cannot_be_meant_is_refused(tmp_path: Path, values: str, told: str) -> None:
    path = saved(tmp_path) / "config.json"
    # Of two values for a key the last counts.
    path.write_text(f"{path.read_text().removesuffix('}')}, {values}}}")
    message = refusal(tmp_path)
    assert told in message
    assert len(message) < 700


@pytest.mark.parametrize("token", [{}, {"content": 5}, ["[CLS]"], 7, {"content": ["[CLS]"]}])
def test_special_tokens_that_are_no_text_are_refused(tmp_path: Path, token: object) -> None:
    (saved(tmp_path) / "tokenizer_config.json").write_text(json.dumps({"cls_token": token}))
    if token:
        assert "tokenizer_config.json cls_token is" in refusal(tmp_path)
    else:
        assert loaded(tmp_path).cls_token == "[CLS]"  # noqa: S105 - no password


@pytest.mark.process
# Of no bytes at all, and a table that ends before its first letter.
@pytest.mark.parametrize("table", ["AAAA", "BAAAAAAAAAA="])
def test_a_tokenizer_that_panics_is_refused(tmp_path: Path, table: str) -> None:
    broken = json.loads(wordpiece().to_str())
    broken["normalizer"] = {"type": "Precompiled", "precompiled_charsmap": table}
    (saved(tmp_path) / "tokenizer.json").write_text(json.dumps(broken))
    # In a process of its own: what Rust does in a panic may end the one that it happens in.
    program = "import sys; from albert_infer.model.checkpoint import load_checkpoint; load_checkpoint(sys.argv[1])"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", program, str(tmp_path)]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert "ModelError: " in ran.stderr.splitlines()[-1]
    assert "tokenizer" in ran.stderr.splitlines()[-1]


@pytest.mark.parametrize("length", [0, 7, 40, -1])
def test_weights_that_are_cut_off_are_refused(tmp_path: Path, length: int) -> None:
    path = saved(tmp_path) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:length])
    assert "not a whole safetensors file" in refusal(tmp_path)


@pytest.mark.parametrize(
    "header",
    [
        b"[]",
        b'{"a": 1}',
        b'{"a": {"dtype": "F32", "shape": [0]}}',
        b'{"a": {"dtype": "F32", "shape": 3, "data_offsets": [0, 0]}}',
        b'{"a": {"dtype": "F32", "shape": [0], "data_offsets": [0]}}',
        b"\xff",
        b'{"a": {"dtype": "F32", "shape": [0], "data_offsets": ["0", "0"]}}',
        DEEP,
    ],
    ids=lambda header: repr(header)[:40],
)
def test_weights_with_a_header_that_describes_no_tensors_are_refused(tmp_path: Path, header: bytes) -> None:
    (saved(tmp_path) / WEIGHTS).write_bytes(len(header).to_bytes(8, "little") + header)
    assert "not a whole safetensors file" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("replacement", "told"),
    [
        (None, f"tensor {TENSOR} of shape (12, 8)*not among the"),
        (np.zeros((8, 12), np.float32), f"tensor {TENSOR} of shape (12, 8)*found shape (8, 12) of F32"),
        (np.zeros((12, 8), np.int8), f"tensor {TENSOR} of shape (12, 8) in floating point*of I8"),
    ],
    ids=["missing", "transposed", "quantised"],
)
def test_a_tensor_that_does_not_fit_the_config_is_refused_from_the_header_alone(
    tmp_path: Path, replacement: NDArray[np.float32] | None, told: str
) -> None:
    folder = saved(tmp_path)
    tensors = {name: tensor for name, tensor in zeros().items() if name != TENSOR}
    if replacement is not None:
        tensors[TENSOR] = replacement
    save_file(tensors, folder / WEIGHTS)
    message = refusal(folder)
    assert str(folder) in message
    assert all(part in message for part in told.split("*"))


def test_the_digest_changes_with_any_byte_and_may_be_demanded(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    digest = loaded(folder).digest
    assert re.fullmatch("[0-9a-f]{64}", digest)
    assert load_checkpoint(str(folder), digest=digest).digest == digest
    weights = bytearray((folder / WEIGHTS).read_bytes())
    weights[-1] ^= 1
    (folder / WEIGHTS).write_bytes(weights)
    changed = loaded(folder).digest
    assert changed != digest
    with pytest.raises(ModelError) as refused:
        load_checkpoint(str(folder), digest=digest)
    assert digest in refused.value.asked
    assert changed in refused.value.problem


@pytest.mark.parametrize(
    "index",
    [
        b"{",
        b"{}",
        b'{"weight_map": []}',
        b'{"weight_map": {"a": "../../other"}}',
        DEEP,
        b'{"weight_map": {"a": "", "b": ".."}}',
        rb'{"weight_map": {"a": "\u0000"}}',
        b'{"weight_map": {"a": "gone.safetensors"}}',
    ],
    ids=lambda index: repr(index)[:40],
)
def test_a_broken_index_of_weights_is_refused(tmp_path: Path, index: bytes) -> None:
    (saved(tmp_path) / "model.safetensors").unlink()
    (tmp_path / "model.safetensors.index.json").write_bytes(index)
    assert "model.safetensors.index.json" in refusal(tmp_path)


def test_a_tokenizer_with_more_ids_than_embeddings_is_refused(tmp_path: Path) -> None:
    size = wordpiece().get_vocab_size()
    assert loaded(saved(tmp_path, vocab_size=size)).shape.vocab_size == size
    assert str(size - 1) in refusal(saved(tmp_path, vocab_size=size - 1))


def test_a_tokenizer_that_frames_pairs_otherwise_is_refused(tmp_path: Path) -> None:
    framed = json.loads(wordpiece().to_str())
    framed["post_processor"]["pair"].insert(3, framed["post_processor"]["pair"][2])
    (saved(tmp_path) / "tokenizer.json").write_text(json.dumps(framed))
    assert "[CLS] premise [SEP] hypothesis [SEP]" in refusal(tmp_path)


def test_the_names_of_cls_and_sep_are_the_checkpoints_own(tmp_path: Path) -> None:
    text = wordpiece().to_str().replace("[CLS]", "<s>").replace("[SEP]", "</s>")
    (saved(tmp_path) / "tokenizer.json").write_text(text)
    assert "[CLS]" in refusal(tmp_path)
    settings = {"cls_token": {"content": "<s>"}, "sep_token": "</s>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    assert (loaded(tmp_path).cls_token, loaded(tmp_path).sep_token) == ("<s>", "</s>")


def test_segments_are_given_even_where_the_tokenizer_settings_leave_them_out(tmp_path: Path) -> None:
    plain = loaded(saved(tmp_path))
    settings = {"model_input_names": ["input_ids"], "padding_side": "left", "truncation_side": "left"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    assert loaded(tmp_path).tokenizer_json == plain.tokenizer_json
    assert loaded(tmp_path).tokenizer(max_length=None).frames_pairs_as_albert()


def test_max_length_is_the_checkpoints_and_may_be_lowered_only(tmp_path: Path) -> None:
    checkpoint = loaded(saved(tmp_path))
    assert checkpoint.tokenizer(max_length=None).frame.max_length == 32
    assert checkpoint.tokenizer(max_length=32).frame.max_length == 32
    assert checkpoint.tokenizer(max_length=5).frame.max_length == 5
    with pytest.raises(ModelError, match="33"):
        checkpoint.tokenizer(max_length=33)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors", "special_tokens_map.json"])
def test_the_digests_change_when_a_byte_changes_and_only_then(tmp_path: Path, name: str) -> None:
    folder = saved(tmp_path)
    (folder / "special_tokens_map.json").write_text("{}")
    (folder / "README.md").write_text("not part of it")
    before = loaded(folder).digests
    (folder / "README.md").write_text("changed")
    assert loaded(folder).digests == before
    data = (folder / name).read_bytes()
    # One bit of a weight, or a space at the end of a JSON file.
    (folder / name).write_bytes(data[:-1] + bytes([data[-1] ^ 1]) if name.endswith(".safetensors") else data + b" ")
    after = loaded(folder).digests
    assert {changed for changed in before if after[changed] != before[changed]} == {name}


def test_a_temperature_is_read_where_there_is_one_and_belongs_to_the_digests(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    plain = loaded(folder)
    assert plain.temperature == 1
    (folder / CALIBRATION).write_bytes(calibration_json(1.37, {"pairs": 4816}))
    calibrated = loaded(folder)
    assert calibrated.temperature == 1.37
    assert calibrated.digests.keys() - plain.digests.keys() == {CALIBRATION}
    (folder / CALIBRATION).write_bytes(calibration_json(1.38, {"pairs": 4816}))
    assert len({plain.digest, calibrated.digest, loaded(folder).digest}) == 3
    (folder / CALIBRATION).write_text('{"temperature": 0}')
    assert f"model {folder}: calibration.json has the temperature 0" in refusal(folder)


def test_units_are_named_by_the_tokens_where_no_file_is_the_tokenizer(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    plain = loaded(folder).recipe
    assert plain == {"digests": loaded(folder).digests, "label_map": list(MNLI)}
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "additional_special_tokens": ["(c)"]}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    applied = loaded(folder).recipe
    assert re.fullmatch("[0-9a-f]{64}", applied["tokens"])
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "additional_special_tokens": ["U.S.A."]}))
    assert loaded(folder).recipe["tokens"] != applied["tokens"]


def test_sharded_weights_are_read_whole(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    tensors = zeros()
    weight_map = {name: shards[place % 2] for place, name in enumerate(tensors)}
    for shard in shards:
        save_file({name: tensors[name] for name in tensors if weight_map[name] == shard}, folder / shard)
    (folder / WEIGHTS).unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    checkpoint = loaded(folder)
    assert checkpoint.weights == tuple((folder / shard).read_bytes() for shard in shards)
    assert checkpoint.digests.keys() >= set(shards)
    (folder / shards[1]).unlink()
    assert shards[1] in refusal(folder)


def test_the_builtin_checkpoint_loads() -> None:
    checkpoint = load_checkpoint("builtin")
    assert set(checkpoint.label_order) == set(NliLabel)
    assert checkpoint.digests.keys() >= {"config.json", "tokenizer.json", "model.safetensors"}


def test_a_checkpoint_with_a_sentencepiece_model_gets_its_tokens(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    (folder / "tokenizer.json").unlink()
    pieces = sentencepiece_model(folder / "spiece.model")
    tokenizer = loaded(folder).tokenizer(max_length=None)
    texts = ["a man plays music", "the dog sleeps"]
    assert loaded(folder).digests.keys() >= {"spiece.model"}
    rows = tokens_of(tokenizer, texts)
    first, second = (pieces.encode(text) for text in texts)
    assert rows == [
        pieces.piece_to_id("[CLS]"),
        *first,
        pieces.piece_to_id("[SEP]"),
        *second,
        pieces.piece_to_id("[SEP]"),
    ]


@pytest.mark.parametrize("revision", ["main", "v1.0", "0123456789abcdef", "refs/pr/3", "refs/heads/a-b"])
def test_a_revision_may_hold_slashes(revision: str) -> None:
    assert hub.hub_id(f"someone/albert-nli@{revision}") == hub.HubId("someone/albert-nli", revision)
    assert name_anywhere(f"someone/albert-nli@{revision}") == f"someone/albert-nli@{revision}"


@pytest.mark.parametrize("source", ["someone/albert-nli", "someone/albert-nli@", "a/b@/x", "a/b@x/", "a/b@x//y"])
def test_what_names_no_revision_is_no_hub_id(source: str) -> None:
    assert hub.hub_id(source) is None


HUB_SCRIPT = """
import sys
from albert_infer.errors import ModelError
from albert_infer.model.checkpoint import load_checkpoint
for source in sys.argv[1:]:
    try:
        print(sorted(load_checkpoint(source).digests))
    except ModelError as error:
        print("refused:", error)
"""


@pytest.mark.process
def test_a_hub_id_is_found_in_the_cache_at_its_revision_and_refused_elsewhere(tmp_path: Path) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "models--someone--albert-nli"
    saved(repository / "snapshots" / commit)
    (repository / "snapshots" / commit / CALIBRATION).write_bytes(calibration_json(1.37, {}))
    (repository / "refs").mkdir()
    (repository / "refs" / "v1").write_text(commit)
    sources = ["someone/albert-nli@v1", f"someone/albert-nli@{commit}", "someone/albert-nli@v2"]
    # In a process of its own: the hub's client reads its settings when it is imported.
    command = [sys.executable, "-c", HUB_SCRIPT, *sources]
    environment = {**os.environ, "HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()
    assert told[:2] == ["['calibration.json', 'config.json', 'model.safetensors', 'tokenizer.json']"] * 2
    assert told[2].startswith("refused: model someone/albert-nli@v2")
    assert "network" in told[2]


def tokens_of(tokenizer: PairTokenizer, texts: Sequence[str]) -> list[int]:
    premise, hypothesis = (pa.chunked_array([[text]]) for text in texts)
    ids: list[int] = tokenizer.encode(premise, hypothesis, np.zeros(1, dtype=bool)).pairs.input_ids.tolist()
    return ids
