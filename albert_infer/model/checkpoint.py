"""Loads and verifies a checkpoint: digests of files, tokenizer, weights, temperature.

The driver loads it. The workers get a `Checkpoint`, which is bytes and strings. No code of a checkpoint is executed,
and nothing is unpickled. This module does not use pairs or devices.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from albert_infer.engine import AlbertShape
from albert_infer.engine.tensors import TensorHeader, refuse_unfit_tensors, tensor_headers, wrapper_of
from albert_infer.errors import AlbertInferError, ModelError
from albert_infer.model import remedies
from albert_infer.model.calibration import CALIBRATION, UNCALIBRATED, temperature_of
from albert_infer.model.checkpoint_files import CheckpointFiles, checkpoint_files
from albert_infer.model.known_files import TOKENIZER_JSON
from albert_infer.model.label_order import label_order_of, named_order, with_outputs
from albert_infer.model.tokenizer_files import tokenizer_text
from albert_infer.model.tokenizer_probes import PROBE_TEXTS, read_tokenizer, token_ids
from albert_infer.prepare.tokenization import PairTokenizer, is_error
from albert_infer.schema import LABEL_SETS, LabelSet, LongPremiseRule, ModelRecipe
from albert_infer.storage import DEFAULT_ACCESS, S3Access

CLASSIFIER: Final = "classifier.weight"


@dataclass(frozen=True)
class Checkpoint:
    """The verified parts of a checkpoint that decide labels. Picklable. `digests` are the sha256 of each file."""

    source: str
    digests: dict[str, str]
    shape: AlbertShape
    weights: tuple[bytes, ...]
    tokenizer_json: str
    cls_token: str
    sep_token: str
    # The label of each output of the classifier.
    label_order: LabelSet
    # Divides the logits before the softmax.
    temperature: float
    # The label order by the checkpoint's own names; None if they name no labels. A given order overrides it.
    named_order: LabelSet | None

    @property
    def digest(self) -> str:
        """One sha256 for all files: that of `digests` as canonical JSON."""
        canonical = json.dumps(self.digests, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    @property
    def labels(self) -> LabelSet:
        """The labels in the order of the probability columns."""
        return LABEL_SETS[len(self.label_order)]

    @property
    def recipe(self) -> ModelRecipe:
        """The parts that decide labels, for the hash of unit ids."""
        recipe = ModelRecipe(digests=self.digests, label_map=list(self.label_order))
        # Only for calibrated checkpoints, so that the unit ids of others do not change.
        if CALIBRATION in self.digests:
            recipe["temperature"] = self.temperature
        # Only for a converted tokenizer: other versions of the libraries may convert it differently.
        if self.digests.get(TOKENIZER_JSON) != hashlib.sha256(self.tokenizer_json.encode()).hexdigest():
            ids = token_ids(read_tokenizer(self.tokenizer_json, self.source), PROBE_TEXTS)
            recipe["tokens"] = hashlib.sha256(json.dumps(ids).encode()).hexdigest()
        return recipe

    def tokenizer(
        self,
        *,
        max_length: int | None,
        long_premise: LongPremiseRule = "truncate",
    ) -> PairTokenizer:
        """The tokenizer for pairs of at most `max_length` tokens. None is the checkpoint's limit.

        Raises ModelError for a `max_length` above that limit.
        """
        limit = self.shape.max_position_embeddings
        if max_length is not None and max_length > limit:
            raise ModelError(f"--max-length {max_length}", f"the checkpoint reads at most {limit} tokens", "lower it")
        return PairTokenizer(
            self.tokenizer_json,
            cls_token=self.cls_token,
            sep_token=self.sep_token,
            max_length=max_length or limit,
            long_premise=long_premise,
        )


def load_checkpoint(
    source: str, *, label_order: Sequence[str] = (), access: S3Access = DEFAULT_ACCESS, digest: str | None = None
) -> Checkpoint:
    """The checkpoint that `source` names: `builtin`, a folder (local or `s3://`), or a hub id `name@revision`.

    `label_order` names the labels of outputs 0, 1 and on, and overrides the checkpoint's names. Raises ModelError, also
    if the checkpoint does not have the given `digest`.
    """
    checkpoint = verified(checkpoint_files(source, access, label_order), label_order)
    _refuse_other_digest(checkpoint, digest)
    return checkpoint


def verified(files: CheckpointFiles, label_order: Sequence[str] = ()) -> Checkpoint:
    """Verify these files. `label_order` is that of `load_checkpoint`. Raises ModelError."""
    source = files.source
    headers = _headers(files.weights, source)
    config = with_outputs(files.config, _outputs(headers, files, label_order), source, given=bool(label_order))
    tokenizer = tokenizer_text(files.tokenizer, files.config, source)
    with remedies.naming(source):
        shape = AlbertShape.from_config(config)
    checkpoint = Checkpoint(
        source=source,
        digests=files.digests,
        shape=shape,
        weights=tuple(files.weights.values()),
        tokenizer_json=tokenizer.json,
        cls_token=tokenizer.cls_token,
        sep_token=tokenizer.sep_token,
        label_order=label_order_of(config, label_order, source),
        temperature=UNCALIBRATED if files.calibration is None else temperature_of(files.calibration, source),
        named_order=named_order(config, source),
    )
    # Checked before a device is used or a file is written.
    with remedies.naming(source):
        refuse_unfit_tensors(shape, [headers])
    _refuse_foreign_tokenizer(checkpoint)
    return checkpoint


def _headers(weights: Mapping[str, bytes], source: str) -> dict[str, TensorHeader]:
    """The tensor headers of the files by name. Raises ModelError for damaged files."""
    headers: dict[str, TensorHeader] = {}
    for name, data in weights.items():
        try:
            headers |= tensor_headers(data)
        except ValueError as error:
            problem = f"{name} is not a whole safetensors file ({len(data):,} bytes): {error}"
            remedy = "copy it again, and compare the checksums"
            raise ModelError(f"model {source}", problem, remedy) from error
    return headers


def outputs_of(files: CheckpointFiles, label_order: Sequence[str] = ()) -> int:
    """The number of outputs of the classifier. Raises ModelError for weights without one."""
    return _outputs(_headers(files.weights, files.source), files, label_order)


def _outputs(headers: Mapping[str, TensorHeader], files: CheckpointFiles, label_order: Sequence[str]) -> int:
    header = headers.get(CLASSIFIER)
    if wrapper := wrapper_of(headers):
        raise remedies.wrapped(files.source, wrapper, label_order, files.s3_endpoint)
    if headers and not any(name.startswith("classifier.") for name in headers):
        raise remedies.without_classifier(files.source, files.s3_endpoint)
    return header.shape[0] if header is not None and header.shape else 0


def _refuse_other_digest(checkpoint: Checkpoint, expected: str | None) -> None:
    if expected is not None and checkpoint.digest != expected:
        problem = f"the digest of model {checkpoint.source} is {checkpoint.digest}"
        remedy = "find out who changed it, or give this digest if you trust these bytes"
        raise ModelError(f"--model-digest {expected}", problem, remedy)


def _refuse_foreign_tokenizer(checkpoint: Checkpoint) -> None:
    try:
        tokenizer = checkpoint.tokenizer(max_length=None)
        last_id, has_albert_frame = tokenizer.vocab_size - 1, tokenizer.frames_pairs_as_albert()
    except AlbertInferError:
        raise
    except BaseException as error:
        if not is_error(error):
            raise
        raise ModelError(f"model {checkpoint.source}", "its tokenizer cannot be read", "save it again") from error
    if last_id >= checkpoint.shape.vocab_size:
        problem = f"its tokenizer has ids up to {last_id}, its embeddings {checkpoint.shape.vocab_size}"
        raise ModelError(f"model {checkpoint.source}", problem, "use the tokenizer it was trained with")
    if not has_albert_frame:
        problem = "its tokenizer does not frame a pair as [CLS] premise [SEP] hypothesis [SEP] with segments 0 and 1"
        raise ModelError(f"model {checkpoint.source}", problem, "use the tokenizer it was trained with")
