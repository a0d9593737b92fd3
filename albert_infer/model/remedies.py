"""The errors for folders and hub ids that are not a checkpoint for labelling, by the names of their files.

Every message names the problem, and one thing to do. The only file that is read is a Trainer's state.
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

# The file of a LoRA adapter by PEFT, which needs a model from elsewhere.
ADAPTER: Final = "adapter_config.json"
# The first bytes of a file that git-lfs has not fetched.
LFS_POINTER: Final = b"version https://git-lfs.github.com/spec/"
PICKLED_WEIGHTS: Final = "pytorch_model.bin"
PICKLED_INDEX: Final = "pytorch_model.bin.index.json"
# Pickles with other names than `pytorch_model.bin`. Their contents are not standard.
OTHER_PICKLES: Final = (".pt", ".pth", ".pkl", ".ckpt", ".bin")
# Files of a Trainer that are not weights.
NO_WEIGHTS: Final = frozenset({"training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth", "scaler.pt"})
OTHER_FRAMEWORKS: Final = {".h5": "TensorFlow", ".msgpack": "Flax"}
EXPORTS: Final = {".gguf": "llama.cpp", ".onnx": "ONNX Runtime", ".tflite": "TensorFlow Lite"}
# The arguments with which transformers 4 reads them. Release 5 cannot.
FROM_OTHERS: Final = {"TensorFlow": "from_tf=True", "Flax": "from_flax=True"}
SAVED: Final = "give a folder saved by save_pretrained"
TRAINER_STATE: Final = "trainer_state.json"
# The state has an entry every few steps. This fits 100,000 entries.
MAX_STATE_BYTES: Final = 32 * 2**20
_STEP: Final = re.compile(r"checkpoint-(\d{1,12})")


@contextmanager
def naming(source: str) -> Iterator[None]:
    """Add the model's name to a ModelError of the block."""
    try:
        yield
    except ModelError as error:
        raise ModelError(f"model {source} with {error.asked}", error.problem, error.remedy) from error


def no_pointer(data: bytes, name: str, source: str) -> bytes:
    """Return `data` unchanged. Raises ModelError for a pointer of git-lfs in place of a file."""
    if data.startswith(LFS_POINTER):
        problem = f"{name} is a pointer of git-lfs: the file itself was not fetched"
        raise ModelError(f"model {source}", problem, "run `git lfs pull` in the folder")
    return data


def conversion_command(source: str, label_order: Sequence[str] = (), s3_endpoint: str | None = None) -> str:
    """The command that converts `source` into a folder for labelling."""
    name = source.partition("@")[0] if not source.startswith(("s3://", "/")) else source
    target = f"{PurePosixPath(name).name or 'checkpoint'}-safetensors"
    words = ["--model", source, "--output", target]
    words += ["--label-order", ",".join(label_order)] if label_order else []
    return f"albert-infer convert {shlex.join(words)}{endpoint_flag(s3_endpoint)}"


def endpoint_flag(s3_endpoint: str | None) -> str:
    """The flag of a command for this S3 server; empty without one."""
    return "" if s3_endpoint is None else f" --s3-endpoint {shlex.quote(s3_endpoint)}"


def without_weights(
    source: str, names: Collection[str], label_order: Sequence[str] = (), s3_endpoint: str | None = None
) -> ModelError:
    """The error for a checkpoint with a config.json and without safetensors."""
    if ADAPTER in names:
        return _adapter(source)
    if {PICKLED_WEIGHTS, PICKLED_INDEX} & set(names):
        problem = f"it has pickled weights only ({PICKLED_WEIGHTS}), which labelling never opens"
        command = conversion_command(source, label_order, s3_endpoint)
        return ModelError(f"model {source}", problem, f"convert it once: {command}")
    others = sorted(name for name in names if name.endswith(".safetensors"))
    if others:
        problem = f"{WEIGHTS} is missing, but the folder has {', '.join(others[:3])}"
        remedy = f"if {others[0]} has the weights, give a folder that has it as {WEIGHTS}"
        return ModelError(f"model {source}", problem, remedy)
    kinds = {PurePosixPath(name).suffix: name for name in names if name not in NO_WEIGHTS}
    for suffix, framework in OTHER_FRAMEWORKS.items():
        if suffix in kinds:
            problem = f"it has weights of {framework} only ({kinds[suffix]})"
            load = f"AlbertForSequenceClassification.from_pretrained(..., {FROM_OTHERS[framework]})"
            return ModelError(
                f"model {source}", problem, f"save it once with transformers 4: {load}.save_pretrained('DIR')"
            )
    for suffix, runtime in EXPORTS.items():
        if suffix in kinds:
            problem = f"it has an export for {runtime} only ({kinds[suffix]})"
            return ModelError(f"model {source}", problem, "give the checkpoint that the export was made from")
    pickles = sorted(name for suffix, name in kinds.items() if suffix in OTHER_PICKLES)
    if pickles:
        problem = f"it has pickled weights only ({pickles[0]}), not with the names of save_pretrained"
        remedy = (
            "load it with the code that made it, and give the folder of save_pretrained; "
            f"if it is a dict of tensors by name, rename it to {PICKLED_WEIGHTS} and convert it"
        )
        return ModelError(f"model {source}", problem, remedy)
    return ModelError(f"model {source}", f"{WEIGHTS} is missing", SAVED)


def without_config(source: str, names: Collection[str], read: Callable[[str], bytes]) -> ModelError:
    """The error for a folder without config.json at its top. `read` reads a file of the folder."""
    if ADAPTER in names:
        return _adapter(source)
    below = sorted({name.rpartition("/")[0] for name in names if name.count("/") == 1 and name.endswith(f"/{CONFIG}")})
    steps = sorted((int(step[1]), folder) for folder in below if (step := _STEP.fullmatch(folder)))
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
        return ModelError(f"model {source}", f"{CONFIG} is missing, and {export} has no usable weights", remedy)
    return ModelError(f"model {source}", f"{CONFIG} is missing", SAVED)


def with_bert_vocabulary(source: str) -> ModelError:
    """The error for a checkpoint whose only vocabulary is vocab.txt."""
    problem = "no tokenizer.json and no spiece.model; vocab.txt alone is the vocabulary of a BERT"
    repair = "BertTokenizerFast.from_pretrained('DIR').save_pretrained('DIR')"
    remedy = f"give an ALBERT; if it is one, write its tokenizer.json with {repair}"
    return ModelError(f"model {source}", problem, remedy)


def of_another_architecture(source: str, model_type: object) -> ModelError:
    """The error for a checkpoint that is not an ALBERT."""
    problem = f"config.json has model_type {model_type!r:.100}, but only an ALBERT can label"
    remedy = "give an ALBERT with NLI labels: docs/how-to/checkpoints.md lists some"
    return ModelError(f"model {source}", problem, remedy)


def wrapped(source: str, wrapper: str, label_order: Sequence[str], s3_endpoint: str | None) -> ModelError:
    """The error for weights whose names all begin with a prefix of DataParallel, torch.compile or Lightning."""
    problem = f"the name of each tensor begins with {wrapper!r}: it was saved from within a wrapper"
    command = conversion_command(source, label_order, s3_endpoint)
    return ModelError(f"model {source}", problem, f"convert it once: {command}")


def without_classifier(source: str, s3_endpoint: str | None = None) -> ModelError:
    """The error for a pretrained ALBERT without a classifier."""
    problem = "it has no classifier: a pretrained ALBERT, which has learned no labels"
    command = f"albert-infer finetune --train PAIRS --eval PAIRS --model {shlex.quote(source)} --output NEW"
    command += endpoint_flag(s3_endpoint)
    return ModelError(f"model {source}", problem, f"train one: {command}")


def _adapter(source: str) -> ModelError:
    remedy = "load it with PEFT where it was trained, and give the folder of merge_and_unload().save_pretrained('DIR')"
    return ModelError(f"model {source}", f"it is a LoRA adapter ({ADAPTER}), which has no model", remedy)


def _best(last: str, steps: list[str], names: Collection[str], read: Callable[[str], bytes]) -> str | None:
    """The folder of the Trainer's best checkpoint; None if its state names none."""
    if f"{last}/{TRAINER_STATE}" not in names:
        return None
    try:
        state: Any = parsed_json(read(f"{last}/{TRAINER_STATE}"), max_bytes=MAX_STATE_BYTES)
    except ValueError:
        return None  # the message only loses a hint
    named = state.get("best_model_checkpoint") if isinstance(state, dict) else None
    best = PurePosixPath(str(named).replace("\\", "/")).name
    return best if best in steps else None
