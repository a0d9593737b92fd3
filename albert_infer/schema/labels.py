"""The closed lists: labels, rejections, quarantines, precisions and devices, and the recipe of a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final, Literal, NotRequired

from typing_extensions import TypedDict  # pydantic takes no other before Python 3.12


class NliLabel(StrEnum):
    """The three labels, in the order of the probability columns."""

    ENTAILMENT = "entailment"
    NEUTRAL = "neutral"
    CONTRADICTION = "contradiction"


class BinaryLabel(StrEnum):
    """The labels of a checkpoint with two outputs: entailment and the rest, in the order of the probability columns."""

    ENTAILMENT = "entailment"
    NOT_ENTAILMENT = "not_entailment"


Label = NliLabel | BinaryLabel
# The labels of a checkpoint, in the order of the probability columns.
LabelSet = tuple[Label, ...]
THREE_LABELS: Final[LabelSet] = tuple(NliLabel)
TWO_LABELS: Final[LabelSet] = tuple(BinaryLabel)
# By the number of outputs of the classifier.
LABEL_SETS: Final[Mapping[int, LabelSet]] = {len(labels): labels for labels in (THREE_LABELS, TWO_LABELS)}


class Rejection(StrEnum):
    """Why a pair has no label. The list is closed: readers may switch on the values."""

    NULL_TEXT = "null_text"
    EMPTY_TEXT = "empty_text"
    TEXT_TOO_LONG = "text_too_long"
    BAD_UTF8 = "bad_utf8"
    HYPOTHESIS_TOO_LONG = "hypothesis_too_long"
    TOO_MANY_WINDOWS = "too_many_windows"
    TOO_MANY_PAIRS = "too_many_pairs"
    NONFINITE_LOGITS = "nonfinite_logits"
    DEVICE_OUT_OF_MEMORY = "device_out_of_memory"
    TOKENIZER_FAILED = "tokenizer_failed"
    SPLITTER_FAILED = "splitter_failed"


class Quarantine(StrEnum):
    """Why a file or unit could not be read. The list is closed: readers may switch on the values."""

    EMPTY_OBJECT = "empty_object"
    NOT_PARQUET = "not_parquet"
    BAD_FOOTER = "bad_footer"
    ARCHIVED = "archived"
    ENCRYPTED = "encrypted"
    CODEC = "codec"
    LIMIT_ROWS = "limit_rows"
    SCHEMA_MISSING = "schema_missing"
    SCHEMA_DUPLICATE_COLUMN = "schema_duplicate_column"
    SCHEMA_TYPE = "schema_type"
    SCHEMA_ID = "schema_id"
    SCHEMA_EXTENSION = "schema_extension"
    CARRIED_VALUE = "carried_value"
    BAD_PAGE = "bad_page"
    ROW_COUNT = "row_count"
    POISON_UNIT = "poison_unit"
    LIMIT_DECODED_BYTES = "limit_decoded_bytes"
    LIMIT_PAIRS = "limit_pairs"


class Precision(StrEnum):
    """The number format of the engine's matrix products. The classifier always uses fp32."""

    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"
    INT8 = "int8"
    FP8 = "fp8"


class DeviceKind(StrEnum):
    """The kind of device that runs the engine; the values are torch's names."""

    CPU = "cpu"
    CUDA = "cuda"


class ExecutorKind(StrEnum):
    """Where a start labels: on Ray, or in the process of the job."""

    RAY = "ray"
    PROCESS = "process"


# Tokens of the shortest pair: [CLS] premise [SEP] hypothesis [SEP] with one token for each text.
MIN_LENGTH: Final = 5
# The treatment of a pair that is too long: cut the premise, cut the longer text first, or read the premise in windows.
LongPremiseRule = Literal["truncate", "longest_first", "window"]


class ModelRecipe(TypedDict):
    """The parts of a checkpoint that decide labels; unit ids include them. The last two are optional."""

    # The sha256 of the checkpoint's files, by name.
    digests: dict[str, str]
    # The label of each output of the classifier.
    label_map: list[Label]
    temperature: NotRequired[float]
    # The sha256 of the tokens of some texts; only for a converted tokenizer.
    tokens: NotRequired[str]


def is_label_order(names: Sequence[str]) -> bool:
    """Whether the names are each label of a set once."""
    return any(sorted(names) == sorted(labels) for labels in LABEL_SETS.values())


def folded(label: str, labels: LabelSet) -> str:
    """The label of the set that `label` means. Of two labels, neutral and contradiction mean `not_entailment`."""
    return label if label in labels else BinaryLabel.NOT_ENTAILMENT
