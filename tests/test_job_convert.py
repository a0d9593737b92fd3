"""Every public form of an ALBERT NLI checkpoint labels as it is, or once one command has converted it."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from checkpoints import random_checkpoint, sentencepiece_model
from job_runs import PROGRAM_PATH
from local_hub import Hub, Repository, Request, commit_of, folder_files, handler
from local_server import LocalServer
from transformers import AlbertTokenizer, AutoTokenizer

import albert_infer
from albert_infer.common.failpoints import VARIABLE
from albert_infer.learning.training.start import starting_model
from albert_infer.model.checkpoint import load_checkpoint
from albert_infer.model.checkpoint_files import checkpoint_files
from albert_infer.model.tokenizer_probes import PROBE_TEXTS, read_tokenizer, token_ids
from albert_infer.operations.conversion.weights import network_can_be_closed, run_alone

pytestmark = pytest.mark.process

BUILTIN = Path(albert_infer.__file__).parent / "model" / "builtin" / "checkpoint"
TESTS = Path(__file__).parent
# Where it is not the pickle that a test is about: each is opened in a process that imports torch.
SAFETENSORS = ("model.safetensors",)
VITAMINC = ("SUPPORTS", "REFUTES", "NOT ENOUGH INFO")
MNLI = ("entailment", "neutral", "contradiction")
NAMELESS = ("LABEL_0", "LABEL_1", "LABEL_2")
VITAMINC_ORDER = ["entailment", "contradiction", "neutral"]
BOT = "SFconvertbot"


@dataclass(frozen=True)
class Published:
    """A checkpoint as it lies on the hub: its name, the names of its outputs, its files, and who offers safetensors."""

    name: str
    labels: tuple[str, ...]
    weights: tuple[str, ...] = ("pytorch_model.bin",)
    tokenizer: str = "spiece.model"
    request: int | None = None
    # What has to be said, as the names mean nothing.
    given: tuple[str, ...] = ()

    @property
    def order(self) -> list[str]:
        """What its outputs mean."""
        return list(self.given or (VITAMINC_ORDER if self.labels == VITAMINC else MNLI))


# Of the nine public ones, as far as their pages tell.
PUBLIC = (
    Published("tals/albert-xlarge-vitaminc-mnli", VITAMINC, ("model.safetensors",)),
    Published(
        "prajjwal1/albert-base-v2-mnli",
        NAMELESS,
        ("model.safetensors",),
        given=("contradiction", "entailment", "neutral"),
    ),
    Published(
        "ynie/albert-xxlarge-v2-snli_mnli_fever_anli_R1_R2_R3-nli",
        MNLI,
        ("pytorch_model.bin", "tf_model.h5"),
        request=2,
    ),
    Published("tals/albert-base-vitaminc-mnli", VITAMINC, request=3),
    Published("tals/albert-base-vitaminc", VITAMINC, request=1),
    Published("tals/albert-xlarge-vitaminc", VITAMINC, request=1),
    Published("Alireza1044/albert-base-v2-mnli", MNLI, tokenizer="tokenizer.json", request=2),
    Published("textattack/albert-base-v2-snli", NAMELESS, given=MNLI),
    Published("anirudh21/albert-large-v2-finetuned-mnli", NAMELESS, tokenizer="tokenizer.json", request=1, given=MNLI),
)


@dataclass
class World:
    """A hub, and a process in which jobs run that reach it."""

    hub: Hub
    process: subprocess.Popen[str]

    def ask(self, **asked: Any) -> dict[str, Any]:
        """Have the process do one thing."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{json.dumps(asked)}\n")
        self.process.stdin.flush()
        told: dict[str, Any] = json.loads(self.process.stdout.readline())
        return told

    def load(self, source: object, *label_order: str) -> dict[str, Any]:
        """Load a checkpoint as a labelling job does."""
        return self.ask(load={"source": str(source), "label_order": label_order})

    def convert(self, *argv: object) -> dict[str, Any]:
        """Run the job."""
        return self.ask(convert=[str(word) for word in argv])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    hub, cache = Hub(), tmp_path_factory.mktemp("cache")
    with LocalServer(handler(hub)) as server:
        home = {"HF_ENDPOINT": server.url, "HF_HOME": str(cache), "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": "hf_s3cret"}
        environment = {**os.environ, **home, "PYTHONPATH": PROGRAM_PATH, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, str(TESTS / "converting.py")]
        with subprocess.Popen(
            command,
            env=environment,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as process:
            yield World(hub, process)
            assert process.stdin
            process.stdin.close()


@pytest.fixture(scope="module")
def forms(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Published], Path]:
    """Make a folder of a checkpoint's form, with tiny weights."""
    base = tmp_path_factory.mktemp("forms")
    trained = base / "trained"
    random_checkpoint(trained)
    sentencepiece_model(trained / "spiece.model")
    (trained / "spiece.vocab").unlink()
    return lambda published: published_folder(published, trained, base / published.name.replace("/", "--"))


def published_folder(published: Published, trained: Path, folder: Path) -> Path:
    if folder.exists():
        return folder
    shutil.copytree(trained, folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "id2label": {str(number): name for number, name in enumerate(published.labels)},
        "label2id": {name: number for number, name in enumerate(published.labels)},
    }
    (folder / "config.json").write_text(json.dumps(config))
    settings = {"do_lower_case": True, "remove_space": True, "keep_accents": False, "model_max_length": 512}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "special_tokens_map.json").write_text(json.dumps({"cls_token": "[CLS]", "sep_token": "[SEP]"}))
    if published.tokenizer == "tokenizer.json":
        made = AlbertTokenizer.from_pretrained(folder, local_files_only=True)
        (folder / "tokenizer.json").write_text(made.backend_tokenizer.to_str())
    if "pytorch_model.bin" in published.weights:
        pickled(folder)
    for name in {"tf_model.h5", "training_args.bin"} & {*published.weights, "training_args.bin"}:
        (folder / name).write_bytes(b"never opened")
    return folder


def pickled(folder: Path) -> None:
    """Leave the weights as an older transformers saved them."""
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    tensors["albert.embeddings.position_ids"] = torch.arange(40)[None]
    torch.save(tensors, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def repository(published: Published, folder: Path, trained: Path) -> Repository:
    files = folder_files(folder)
    if published.request is None:
        return Repository(files)
    offered = {**files, "model.safetensors": (trained / "model.safetensors").read_bytes()}
    return Repository(files, (Request(published.request, BOT, offered),))


def held_against_transformers(folder: Path, original: Path) -> None:
    """The tokens of a converted checkpoint are those of transformers for it, and for the original tokenizer."""
    texts = (*PROBE_TEXTS, "a [SEP] dog", "<ent> THE Man")
    ours = token_ids(read_tokenizer((folder / "tokenizer.json").read_text(), ""), texts)
    for place in (folder, original):
        theirs = AutoTokenizer.from_pretrained(place, local_files_only=True)
        assert theirs.pad_token == "<pad>"  # noqa: S105  no password
        assert ours == [theirs(text, add_special_tokens=False)["input_ids"] for text in texts]


@pytest.mark.parametrize("published", PUBLIC, ids=lambda published: published.name)
def test_each_public_checkpoint_loads_or_is_converted_by_the_command_that_the_refusal_gives(
    published: Published, world: World, forms: Callable[[Published], Path], tmp_path: Path
) -> None:
    folder = forms(published)
    trained = folder.parent / "trained"
    world.hub.repositories[published.name] = repository(published, folder, trained)
    source, given = f"{published.name}@main", published.given

    found = world.load(source, *given)
    if "model.safetensors" in published.weights:
        assert found["label_order"] == published.order
        if given:
            assert "--label-order" in world.load(source)["refused"]
        return

    last = published.name.rpartition("/")[2]
    asked = f"--model {source} --output {last}-safetensors"
    asked += f" --label-order {','.join(given)}" if given else ""
    assert found["refused"].endswith(f"convert it once: albert-infer convert {asked}")

    output = tmp_path / f"{last}-safetensors"
    flags = [str(output) if word == f"{last}-safetensors" else word for word in asked.split()]
    done = world.convert(*flags)

    assert done["exit_code"] == 0, done
    made = load_checkpoint(str(output))
    assert made.digest in done["out"]
    assert list(made.label_order) == list(made.named_order or ()) == published.order
    expected = safetensors.torch.load_file(trained / "model.safetensors")
    written = safetensors.torch.load_file(output / "model.safetensors")
    assert all(torch.equal(written[name], tensor) for name, tensor in expected.items())
    held_against_transformers(output, folder)
    card = (output / "README.md").read_text()
    if published.request is None:
        assert "unpickled as weights only" in card
        assert ("without a network" in card) == network_can_be_closed()
    else:
        commit = commit_of(world.hub.repositories[published.name].requests[0].files)
        assert f"pull request {published.request} by {BOT}, at commit {commit}" in card
        pickles = [path for path in world.hub.asked if path.startswith(f"/{published.name}/") and ".bin" in path]
        assert pickles == [], "the pickle is not even fetched"
    assert done["out"].splitlines()[-1].startswith("summary {")
    again = world.convert(*flags)
    assert again["exit_code"] == 2
    assert "the folder is not empty" in again["err"]
    assert load_checkpoint(str(output)).digest == made.digest


def test_the_page_has_a_row_for_each_and_the_commands_that_were_tried() -> None:
    page = (TESTS.parent / "docs" / "how-to" / "checkpoints.md").read_text()
    for published in PUBLIC:
        assert f"| `{published.name}` |" in page
        order = f" --label-order {','.join(published.given)}" if published.given else ""
        if "model.safetensors" in published.weights:
            assert f"`--model {published.name}@main`" in page or order.strip() in page
        else:
            command = rf"albert-infer convert --model {re.escape(published.name)}@main --output [\w-]+{order}\n"
            assert re.search(command, page)


def test_the_revision_of_a_pull_request_is_one(world: World, forms: Callable[[Published], Path]) -> None:
    published = Published("someone/offered", MNLI, request=3)
    folder = forms(published)
    world.hub.repositories[published.name] = repository(published, folder, folder.parent / "trained")
    found = world.load("someone/offered@refs/pr/3")
    assert found["label_order"] == list(MNLI)
    assert "model.safetensors" in found["files"]
    assert "has no such" in world.load("someone/offered@refs/pr/4")["refused"]


def test_safetensors_of_a_stranger_of_a_closed_request_or_of_other_pickles_are_not_taken(
    world: World, forms: Callable[[Published], Path], tmp_path: Path
) -> None:
    files = folder_files(forms(Published("someone/doubtful", MNLI)))
    other = {**files, "model.safetensors": b"other weights"}
    of_another_pickle = {**other, "pytorch_model.bin": b"another pickle"}
    # Whichever were taken, no weights could be read from it.
    requests = (Request(7, "a-stranger", other), Request(8, BOT, other, "closed"), Request(9, BOT, of_another_pickle))
    world.hub.repositories["someone/doubtful"] = Repository(files, requests)
    done = world.convert("--model", "someone/doubtful@main", "--output", tmp_path / "out")
    assert done["exit_code"] == 0, done
    assert "unpickled as weights only" in done["out"]


def test_a_folder_of_pickled_weights_in_parts_is_converted(
    world: World, forms: Callable[[Published], Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(forms(Published("someone/local", VITAMINC)), tmp_path / "in")
    tensors = torch.load(folder / "pytorch_model.bin", weights_only=True)
    names = [f"pytorch_model-0000{part}-of-00002.bin" for part in (1, 2)]
    weight_map = {name: names[place % 2] for place, name in enumerate(tensors)}
    for part in names:
        torch.save({name: tensor for name, tensor in tensors.items() if weight_map[name] == part}, folder / part)
    (folder / "pytorch_model.bin").unlink()
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))
    done = world.convert("--model", folder, "--output", tmp_path / "out")
    assert done["exit_code"] == 0, done
    assert list(load_checkpoint(str(tmp_path / "out")).label_order) == VITAMINC_ORDER


def test_outputs_without_names_are_named_by_what_the_probe_finds(world: World, tmp_path: Path) -> None:
    folder = shutil.copytree(BUILTIN, tmp_path / "in")
    config = json.loads((folder / "config.json").read_text())
    own = [config["id2label"][str(number)] for number in range(3)]
    del config["id2label"], config["label2id"]
    (folder / "config.json").write_text(json.dumps({**config, "num_labels": 3}))
    done = world.convert("--model", folder, "--output", tmp_path / "out")
    assert done["exit_code"] == 0, done
    assert f"label order  {', '.join(own)}, as the label probe found them" in done["out"]
    made = load_checkpoint(str(tmp_path / "out"))
    assert list(made.named_order or ()) == own
    assert made.temperature == load_checkpoint("builtin").temperature

    wrong = ",".join([own[1], own[0], own[2]])
    refused = world.convert("--model", folder, "--output", tmp_path / "wrong", "--label-order", wrong)
    assert refused["exit_code"] == 2
    assert f"give --label-order {','.join(own)}" in refused["err"]
    assert not (tmp_path / "wrong").exists()


def test_settings_beside_the_tokenizer_are_in_the_one_file_that_is_written(
    world: World, forms: Callable[[Published], Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(forms(Published("someone/json", MNLI, SAFETENSORS, "tokenizer.json")), tmp_path / "in")
    settings = {"tokenizer_class": "AlbertTokenizer", "do_lower_case": False, "split_special_tokens": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "added_tokens.json").write_text(json.dumps({"<ent>": 50}))
    done = world.convert("--model", folder, "--output", tmp_path / "out")
    assert done["exit_code"] == 0, done
    held_against_transformers(tmp_path / "out", folder)


def test_a_pretrained_albert_is_converted_for_fine_tuning(
    world: World, forms: Callable[[Published], Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(forms(Published("someone/encoder", NAMELESS, SAFETENSORS)), tmp_path / "in")
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    encoder = {name: tensor for name, tensor in tensors.items() if not name.startswith("classifier.")}
    safetensors.torch.save_file(encoder, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["AlbertForMaskedLM"]}))
    done = world.convert("--model", folder, "--output", tmp_path / "out")
    assert done["exit_code"] == 0, done
    assert f"albert-infer finetune --train PAIRS --eval PAIRS --model {tmp_path / 'out'}" in done["out"]
    start = starting_model(checkpoint_files(str(tmp_path / "out")), dropout=0.0, seed=0)
    assert start.new_classifier
    held_against_transformers(tmp_path / "out", folder)


def test_outputs_that_nobody_can_name_are_refused(
    world: World, forms: Callable[[Published], Path], tmp_path: Path
) -> None:
    folder = forms(Published("someone/nameless", NAMELESS, SAFETENSORS))
    done = world.convert("--model", folder, "--output", tmp_path / "out")
    assert done["exit_code"] == 2
    assert "does not name its outputs" in done["err"]
    assert "give --label-order" in done["err"]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("held", [{}, {"foo": torch.zeros(2)}, {"module.foo": torch.zeros(2)}], ids=str)
def test_weights_that_are_no_alberts_are_refused(
    world: World, forms: Callable[[Published], Path], tmp_path: Path, held: dict[str, torch.Tensor]
) -> None:
    folder = shutil.copytree(forms(Published("someone/none", MNLI, SAFETENSORS)), tmp_path / "in")
    safetensors.torch.save_file(held, folder / "model.safetensors")
    done = world.convert("--model", folder, "--output", tmp_path / "out")
    assert done["exit_code"] == 2, done
    assert f"model {folder} with tensor albert." in done["err"]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["module.", "_orig_mod.", "Lightning"])
def test_weights_saved_from_within_a_wrapper_are_converted_without_it(
    world: World, forms: Callable[[Published], Path], tmp_path: Path, kind: str
) -> None:
    folder = shutil.copytree(forms(Published("someone/wrapped", MNLI)), tmp_path / "in")
    plain = torch.load(folder / "pytorch_model.bin", weights_only=True)
    wrapper = "model." if kind == "Lightning" else kind
    wrapped = {f"{wrapper}{name}": tensor for name, tensor in plain.items()}
    is_pickled = kind != "_orig_mod."
    if not is_pickled:
        (folder / "pytorch_model.bin").unlink()
        safetensors.torch.save_file(wrapped, folder / "model.safetensors")
    else:
        torch.save(
            {"state_dict": wrapped, "epoch": 3} if kind == "Lightning" else wrapped, folder / "pytorch_model.bin"
        )
    done = world.convert("--model", folder, "--output", tmp_path / "out", "--log-format", "json")
    assert done["exit_code"] == 0, done
    assert f"without '{wrapper}' before each name" in done["out"]
    written = safetensors.torch.load_file(tmp_path / "out" / "model.safetensors")
    assert all(torch.equal(written[name], tensor) for name, tensor in plain.items())
    steps = [json.loads(line)["message"] for line in done["err"].splitlines()]
    opening = ["opening pytorch_model.bin in a separate process"] if is_pickled else []
    told = [f"reading {folder}", *opening, "comparing the tokenizer with the original one"]
    told += ["labelling the pairs of the label probe", f"writing {tmp_path / 'out'}"]
    assert steps == [f"converting: {step}" for step in told]


@pytest.mark.parametrize("kind", ["pointer", "model.pt"])
def test_what_the_converter_cannot_open_is_named(
    world: World, forms: Callable[[Published], Path], tmp_path: Path, kind: str
) -> None:
    folder = shutil.copytree(forms(Published("someone/other", MNLI)), tmp_path / "in")
    if kind == "pointer":
        (folder / "pytorch_model.bin").write_text("version https://git-lfs.github.com/spec/v1\n")
    else:
        (folder / "pytorch_model.bin").rename(folder / "model.pt")
    done = world.convert("--model", folder, "--output", tmp_path / "out")
    assert done["exit_code"] == 2
    assert ("git lfs pull" if kind == "pointer" else "rename it to pytorch_model.bin and convert it") in done["err"]
    assert "labelling never opens" not in done["err"]


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self) -> tuple[Callable[..., object], tuple[Path]]:
        return Path.touch, (self._marker,)


@pytest.mark.parametrize("kind", ["code", "no table", "no pickle"])
def test_a_pickle_that_is_no_table_of_tensors_is_refused_and_runs_nothing(
    world: World, forms: Callable[[Published], Path], tmp_path: Path, kind: str
) -> None:
    folder = shutil.copytree(forms(Published("someone/trap", MNLI)), tmp_path / "in")
    held: dict[str, object] = {"code": {"a": Trap(tmp_path / "opened")}, "no table": [1, 2]}
    data = pickle.dumps(held[kind]) if kind in held else b"not a pickle"
    if kind == "no table":
        torch.save(held[kind], folder / "pytorch_model.bin")
    else:
        (folder / "pytorch_model.bin").write_bytes(data)
    done = world.convert("--model", folder, "--output", tmp_path / "out")
    assert done["exit_code"] == 2
    assert "pytorch_model.bin cannot be converted" in done["err"]
    assert not (tmp_path / "opened").exists()
    assert not (tmp_path / "out").exists()


def test_the_process_that_unpickles_has_no_credentials_and_where_it_can_be_no_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "SOMETHING_ELSE"):
        monkeypatch.setenv(name, "s3cret")
    look = "import os; print(dict(os.environ))"
    assert "s3cret" not in run_alone([sys.executable, "-I", "-c", look], str(tmp_path)).stdout
    with socket.create_server(("127.0.0.1", 0)) as server:
        call = f"import socket; socket.create_connection(('127.0.0.1', {server.getsockname()[1]}), 5)"
        reached = run_alone([sys.executable, "-I", "-c", call], str(tmp_path)).returncode == 0
    assert reached != network_can_be_closed()


def test_a_conversion_that_is_killed_leaves_nothing_under_its_name(
    forms: Callable[[Published], Path], tmp_path: Path
) -> None:
    folder = forms(Published("someone/killed", MNLI, SAFETENSORS))
    output, hits = tmp_path / "made" / "out", tmp_path / "hits"
    hits.mkdir()
    job = TESTS.parent / "jobs" / "convert_checkpoint.py"
    command = [sys.executable, str(job), "--model", str(folder), "--output", str(output)]
    environment = {**os.environ, "PYTHONPATH": PROGRAM_PATH, "OMP_NUM_THREADS": "1"}
    for hit in (1, 4):
        armed = {**environment, VARIABLE: f"putting_whole:kill:{hit}:{hits}"}
        assert subprocess.run(command, env=armed, capture_output=True, check=False).returncode == -9
        assert not output.exists()
    subprocess.run(command, env=environment, capture_output=True, check=True)
    assert list(load_checkpoint(str(output)).label_order) == list(MNLI)
