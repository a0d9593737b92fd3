"""What to give instead of a folder or a hub id that is no checkpoint for labelling, by the names of its files.

Every message names what was found, and the one thing to do. Reads of the files only a Trainer's own state.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Any, Final

from albert_infer.common.json_input import parsed_json
from albert_infer.errors import ModelError
from albert_infer.model.known_files import CONFIG, WEIGHTS

# Of PEFT: what a LoRA changes of a model that lies elsewhere.
ADAPTER: Final = "adapter_config.json"
# How a file begins that git-lfs has not fetched.
LFS_POINTER: Final = b"version https://git-lfs.github.com/spec/"
PICKLED_WEIGHTS: Final = "pytorch_model.bin"
PICKLED_INDEX: Final = "pytorch_model.bin.index.json"
# What is pickled and no `pytorch_model.bin`: who wrote it knows what it holds.
OTHER_PICKLES: Final = (".pt", ".pth", ".pkl", ".ckpt", ".bin")
# What a Trainer keeps beside weights; none of it is a weight.
NO_WEIGHTS: Final = frozenset({"training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth", "scaler.pt"})
OTHER_FRAMEWORKS: Final = {".h5": "TensorFlow", ".msgpack": "Flax"}
EXPORTS: Final = {".gguf": "llama.cpp", ".onnx": "ONNX Runtime", ".tflite": "TensorFlow Lite"}
# How transformers 4 reads them; release 5 does not.
FROM_OTHERS: Final = {"TensorFlow": "from_tf=True", "Flax": "from_flax=True"}
SAVED: Final = "give a folder saved by save_pretrained"
TRAINER_STATE: Final = "trainer_state.json"
# It logs every few steps: 100,000 of its lines.
MAX_STATE_BYTES: Final = 32 * 2**20
_STEP: Final = re.compile(r"checkpoint-(\d{1,12})")


@contextmanager
def naming(source: str) -> Iterator[None]:
    """Have a ModelError of the block, which knows config.json and tensors alone, name the model."""
    try:
        yield
    except ModelError as error:
        raise ModelError(f"model {source} with {error.asked}", error.found, error.remedy) from error


def no_pointer(data: bytes, name: str, source: str) -> bytes:
    """The file as it is. Raises ModelError for what git leaves in the place of a large file."""
    if data.startswith(LFS_POINTER):
        found = f"{name} is a pointer of git-lfs: the file itself was not fetched"
        raise ModelError(f"model {source}", found, "run `git lfs pull` in the folder")
    return data


def conversion_command(source: str, label_order: Sequence[str] = (), s3_endpoint: str | None = None) -> str:
    """The command that makes a folder for labelling of `source`."""
    name = source.partition("@")[0] if not source.startswith(("s3://", "/")) else source
    target = f"{PurePosixPath(name).name or 'checkpoint'}-safetensors"
    words = ["--model", source, "--output", target]
    words += ["--label-order", ",".join(label_order)] if label_order else []
    return f"albert-infer convert {shlex.join(words)}{endpoint_flag(s3_endpoint)}"


def endpoint_flag(s3_endpoint: str | None) -> str:
    """What a command needs for the store of this one."""
    return "" if s3_endpoint is None else f" --s3-endpoint {shlex.quote(s3_endpoint)}"


def without_weights(
    source: str, names: Collection[str], label_order: Sequence[str] = (), s3_endpoint: str | None = None
) -> ModelError:
    """For a checkpoint that has a config.json and no safetensors."""
    if ADAPTER in names:
        return _adapter(source)
    if {PICKLED_WEIGHTS, PICKLED_INDEX} & set(names):
        found = f"it has pickled weights only ({PICKLED_WEIGHTS}), which labelling never opens"
        command = conversion_command(source, label_order, s3_endpoint)
        return ModelError(f"model {source}", found, f"convert it once: {command}")
    others = sorted(name for name in names if name.endswith(".safetensors"))
    if others:
        found = f"{WEIGHTS} is missing, but {', '.join(others[:3])} is there"
        remedy = f"if {others[0]} has the weights, give a folder in which it is called {WEIGHTS}"
        return ModelError(f"model {source}", found, remedy)
    kinds = {PurePosixPath(name).suffix: name for name in names if name not in NO_WEIGHTS}
    for suffix, framework in OTHER_FRAMEWORKS.items():
        if suffix in kinds:
            found = f"it has weights of {framework} only ({kinds[suffix]})"
            load = f"AlbertForSequenceClassification.from_pretrained(..., {FROM_OTHERS[framework]})"
            return ModelError(
                f"model {source}", found, f"save it once with transformers 4: {load}.save_pretrained('DIR')"
            )
    for suffix, runtime in EXPORTS.items():
        if suffix in kinds:
            found = f"it has an export for {runtime} only ({kinds[suffix]})"
            return ModelError(f"model {source}", found, "give the checkpoint that the export was made from")
    pickles = sorted(name for suffix, name in kinds.items() if suffix in OTHER_PICKLES)
    if pickles:
        found = f"it has pickled weights only ({pickles[0]}), not called as save_pretrained calls them"
        remedy = (
            "load it where it was made, and give the folder that save_pretrained makes of it; "
            f"if it is a table of tensors by name, call it {PICKLED_WEIGHTS} and convert it"
        )
        return ModelError(f"model {source}", found, remedy)
    return ModelError(f"model {source}", f"{WEIGHTS} is missing", SAVED)


def without_config(source: str, names: Collection[str], read: Callable[[str], bytes]) -> ModelError:
    """For a folder with no config.json at its top; `read` gives a file of it."""
    if ADAPTER in names:
        return _adapter(source)
    below = sorted({name.rpartition("/")[0] for name in names if name.count("/") == 1 and name.endswith(f"/{CONFIG}")})
    steps = sorted((int(found[1]), folder) for folder in below if (found := _STEP.fullmatch(folder)))
    base = source.rstrip("/")
    if steps:
        last = steps[-1][1]
        best = _best(last, [folder for _, folder in steps], names, read)
        which = f"{base}/{best or last}, the {'best' if best else 'last'} of {len(steps)}"
        return ModelError(f"model {source}", "it is a Trainer's folder, with its checkpoints below it", f"give {which}")
    if below:
        return ModelError(f"model {source}", f"{CONFIG} is missing, but {below[0]}/ has one", f"give {base}/{below[0]}")
    others = {PurePosixPath(name).suffix: name for name in names}
    export = next((others[suffix] for suffix in (*EXPORTS, *OTHER_FRAMEWORKS) if suffix in others), None)
    if export is not None:
        remedy = "give the checkpoint that it was made from, a folder saved by save_pretrained"
        return ModelError(f"model {source}", f"{CONFIG} is missing, and {export} has no weights for us", remedy)
    return ModelError(f"model {source}", f"{CONFIG} is missing", SAVED)


def with_words_of_a_bert(source: str) -> ModelError:
    """For a checkpoint whose only vocabulary is vocab.txt."""
    found = "no tokenizer.json and no spiece.model; vocab.txt alone is the vocabulary of a BERT"
    remedy = "give an ALBERT; if it is one, BertTokenizerFast.from_pretrained('DIR').save_pretrained('DIR') mends it"
    return ModelError(f"model {source}", found, remedy)


def of_another_model(source: str, model_type: object) -> ModelError:
    """For a checkpoint that is no ALBERT."""
    found = f"config.json has model_type {model_type!r:.100}, and only an ALBERT can label"
    remedy = "give an ALBERT with three NLI labels: docs/how-to/checkpoints.md lists some"
    return ModelError(f"model {source}", found, remedy)


def wrapped(source: str, wrapper: str, label_order: Sequence[str], s3_endpoint: str | None) -> ModelError:
    """For weights whose names all begin with what DataParallel, torch.compile or Lightning put there."""
    found = f"the name of each tensor begins with {wrapper!r}: it was saved from within a wrapper"
    command = conversion_command(source, label_order, s3_endpoint)
    return ModelError(f"model {source}", found, f"convert it once: {command}")


def without_classifier(source: str, s3_endpoint: str | None = None) -> ModelError:
    """For an ALBERT that was pretrained and has learned no labels."""
    found = "it has no classifier: a pretrained ALBERT, which has learned no labels"
    command = f"albert-infer finetune --train PAIRS --eval PAIRS --model {shlex.quote(source)} --output NEW"
    command += endpoint_flag(s3_endpoint)
    return ModelError(f"model {source}", found, f"train one: {command}")


def _adapter(source: str) -> ModelError:
    remedy = "load it with PEFT where it was trained, and give the folder of merge_and_unload().save_pretrained('DIR')"
    return ModelError(f"model {source}", f"it is a LoRA adapter ({ADAPTER}), which has no model", remedy)


def _best(last: str, steps: list[str], names: Collection[str], read: Callable[[str], bytes]) -> str | None:
    """The checkpoint that the Trainer says is the best; None where it says nothing of the kind."""
    if f"{last}/{TRAINER_STATE}" not in names:
        return None
    try:
        state: Any = parsed_json(read(f"{last}/{TRAINER_STATE}"), max_bytes=MAX_STATE_BYTES)
    except ValueError:
        return None  # only a hint is lost
    named = state.get("best_model_checkpoint") if isinstance(state, dict) else None
    best = PurePosixPath(str(named).replace("\\", "/")).name
    return best if best in steps else None
