"""The contract between the steps: column names, Arrow types, and the closed lists of labels and rejections.

This module knows nothing about files, devices or Ray. In every step each pair is one row, named by `_unit` and `_row`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Literal, NotRequired

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from typing_extensions import TypedDict  # pydantic takes no other before Python 3.12


class NliLabel(StrEnum):
    """The three labels, in the order of the probability columns."""

    ENTAILMENT = "entailment"
    NEUTRAL = "neutral"
    CONTRADICTION = "contradiction"


class Rejection(StrEnum):
    """Why a pair has no label. The list is closed: readers may switch on the values."""

    NULL_TEXT = "null_text"
    EMPTY_TEXT = "empty_text"
    TEXT_TOO_LONG = "text_too_long"
    BAD_UTF8 = "bad_utf8"
    HYPOTHESIS_TOO_LONG = "hypothesis_too_long"
    TOO_MANY_WINDOWS = "too_many_windows"
    NONFINITE_LOGITS = "nonfinite_logits"
    DEVICE_OUT_OF_MEMORY = "device_out_of_memory"
    TOKENIZER_FAILED = "tokenizer_failed"


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


# Columns that only the steps use; no output column begins with an underscore.
UNIT: Final = "_unit"
ROW: Final = "_row"
# An unreadable unit is one row with the reason in this column; in every other row this column is null.
UNIT_QUARANTINE: Final = "_quarantine"
INPUT_IDS: Final = "_input_ids"
PREMISE_TOKENS: Final = "_premise_segment_tokens"
# The whole premise of a pair that is cut into windows; an empty list for other pairs.
LONG_PREMISE: Final = "_long_premise"

PAIR_ID: Final = "pair_id"
# The name of the id column in a run without ids.
NO_IDS: Final = "none"
PREMISE: Final = "premise"
HYPOTHESIS: Final = "hypothesis"
SOURCE_FILE: Final = "source_file"
SOURCE_ROW: Final = "source_row"

# Tokens of the shortest pair: [CLS] premise [SEP] hypothesis [SEP] with one token for each text.
MIN_LENGTH: Final = 5
# The treatment of a pair that is too long: cut the premise, cut the longer text first, or read the premise in windows.
LongPremiseRule = Literal["truncate", "longest_first", "window"]

LABEL: Final = "label"
PROBABILITIES: Final = tuple(f"p_{label}" for label in NliLabel)
N_TOKENS: Final = "n_tokens"
TRUNCATED: Final = "truncated"
# Only in runs with the setting for them.
NEEDS_REVIEW: Final = "needs_review"
N_WINDOWS: Final = "n_windows"
REJECTION: Final = "rejection"
DETAIL: Final = "detail"

LABEL_FIELDS: Final = (
    pa.field(LABEL, pa.string()),
    *(pa.field(name, pa.float32()) for name in PROBABILITIES),
    pa.field(N_TOKENS, pa.int32()),
    pa.field(TRUNCATED, pa.bool_()),
)
REVIEW_FIELD: Final = pa.field(NEEDS_REVIEW, pa.bool_())
WINDOWS_FIELD: Final = pa.field(N_WINDOWS, pa.int32())
SOURCE_FIELDS: Final = (pa.field(SOURCE_FILE, pa.string()), pa.field(SOURCE_ROW, pa.int64()))

# Added by `validation`, by `tokenization` and by `classification`.
VERDICT_FIELDS: Final = (pa.field(REJECTION, pa.string()), pa.field(DETAIL, pa.string()))
TOKEN_FIELDS: Final = (
    pa.field(INPUT_IDS, pa.list_(pa.int32())),
    pa.field(PREMISE_TOKENS, pa.int32()),
    pa.field(N_TOKENS, pa.int32()),
    pa.field(TRUNCATED, pa.bool_()),
)
# Added by `tokenization` where long premises are cut into windows.
WINDOW_TOKEN_FIELDS: Final = (pa.field(LONG_PREMISE, pa.large_list(pa.int32())), WINDOWS_FIELD)
# These identify the row; they are the first columns of every table between the steps.
POSITION_FIELDS: Final = (
    pa.field(UNIT, pa.string()),
    pa.field(ROW, pa.int64()),
    pa.field(UNIT_QUARANTINE, pa.string()),
)

# A carried column must not have these names in any run: each is a column of an output file, or of a table between the
# steps. `config` has the reserved names of one run.
RESERVED_NAMES: Final = frozenset(
    {PAIR_ID, PREMISE, HYPOTHESIS}
    | {field.name for field in (*LABEL_FIELDS, *SOURCE_FIELDS, *VERDICT_FIELDS, *TOKEN_FIELDS, *POSITION_FIELDS)}
)


def same_name(names: Iterable[str], taken: Iterable[str]) -> str | None:
    """Return the first of `names` that is in `taken`, without regard to case, as DuckDB and Spark compare names."""
    lowered = {name.lower() for name in taken}
    return next((name for name in names if name.lower() in lowered), None)


def names_alike(names: Sequence[str]) -> tuple[str, str] | None:
    """Return the first two of `names` that differ only in case."""
    by_lowered: dict[str, str] = {}
    for name in names:
        if (first := by_lowered.setdefault(name.lower(), name)) != name:
            return first, name
    return None


def is_text(kind: Any) -> bool:
    """Whether an Arrow type holds strings: plain, dictionary-encoded or run-end-encoded."""
    kind = kind.value_type if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind) else kind
    return any(check(kind) for check in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view))


def conformed(table: pa.Table, wanted: pa.Schema) -> pa.Table:
    """Return the columns of `wanted` from `table`, cast where a type differs. Raises KeyError for a missing column.

    `Table.cast` would cast all columns, and Arrow breaks slices of columns with a null type (`struct<a: null>`).
    """
    return pa.Table.from_arrays([table[name] for name in wanted.names], schema=wanted)


@dataclass(frozen=True)
class PairColumns:
    """The input columns that make a pair, and the columns that the output has in addition."""

    premise: str = PREMISE
    hypothesis: str = HYPOTHESIS
    pair_id: str | None = None
    # pa.string(), pa.int64() or pa.uint64(); None without ids.
    id_type: pa.DataType | None = None
    carried: tuple[pa.Field, ...] = ()
    # Whether a carried column is null for a file without the column; if False, such a file is quarantined.
    may_lack_carried: bool = False
    with_source: bool = False
    # With a number, the output has `needs_review`: whether the largest probability is below the number.
    review_below: float | None = None
    # Whether long premises are cut into windows; then the output has `n_windows`.
    with_windows: bool = False
    # The class names of carried columns, where all files have the same ones; written into the output's metadata.
    classes: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def input_names(self) -> list[str]:
        """The columns to read from a file, ordered as `pair_fields`."""
        ids = [] if self.pair_id is None else [self.pair_id]
        return [*ids, self.premise, self.hypothesis, *(field.name for field in self.carried)]

    @property
    def pair_fields(self) -> list[pa.Field]:
        """The same columns with their names and types after reading: the first columns of every later table."""
        texts = [pa.field(PREMISE, pa.string()), pa.field(HYPOTHESIS, pa.string())]
        return [*self._id_fields, *texts, *self.carried]

    @property
    def prepared(self) -> pa.Schema:
        """The schema of the tables between the read+prepare stage and the classify stage."""
        return pa.schema([*POSITION_FIELDS, *self.pair_fields, *VERDICT_FIELDS, *self.token_fields])

    @property
    def token_fields(self) -> list[pa.Field]:
        """The columns that tokenization adds."""
        return [*TOKEN_FIELDS, *(WINDOW_TOKEN_FIELDS if self.with_windows else ())]

    @property
    def label_fields(self) -> list[pa.Field]:
        """The columns that labelling adds."""
        review = () if self.review_below is None else (REVIEW_FIELD,)
        return [*LABEL_FIELDS, *review, *((WINDOWS_FIELD,) if self.with_windows else ())]

    @property
    def labelled(self) -> pa.Schema:
        """The schema of a file of labels."""
        source = SOURCE_FIELDS if self.with_source else ()
        return pa.schema([*self.pair_fields, *source, *self.label_fields])

    @property
    def rejected(self) -> pa.Schema:
        """The schema of a file of rejected rows: without the texts, always with the source file and row."""
        return pa.schema([*self._id_fields, *self.carried, *SOURCE_FIELDS, *VERDICT_FIELDS])

    @property
    def _id_fields(self) -> list[pa.Field]:
        return [] if self.pair_id is None else [pa.field(PAIR_ID, self.id_type)]


class ModelRecipe(TypedDict):
    """The parts of a checkpoint that decide labels; unit ids include them. The last two are optional."""

    # The sha256 of the checkpoint's files, by name.
    digests: dict[str, str]
    # The label of each output of the classifier.
    label_map: list[NliLabel]
    temperature: NotRequired[float]
    # The sha256 of the tokens of some texts; only for a converted tokenizer.
    tokens: NotRequired[str]


def equal_runs(ids: NDArray[np.int32], offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number the R runs of ids between the `offsets` (R+1); equal runs get equal numbers (R, int64)."""
    begins, tokens = (pa.py_buffer(array) for array in (offsets * ids.itemsize, ids))
    runs = pa.Array.from_buffers(pa.large_binary(), len(offsets) - 1, [None, begins, tokens])
    numbers: NDArray[np.int64] = runs.dictionary_encode().indices.to_numpy().astype(np.int64)
    return numbers


@dataclass(frozen=True)
class EncodedPairs:
    """Ragged, unpadded token ids of R pairs, special tokens included: `[CLS] premise [SEP] hypothesis [SEP]`.

    `input_ids` (T, int32) holds the tokens of all pairs in order. `offsets` (R+1, int64) holds the index of each pair's
    first token. `premise_segment_tokens` (R, int32) is the length of segment 0, `[CLS] premise [SEP]`; all later tokens
    of the pair are segment 1.
    """

    input_ids: NDArray[np.int32]
    offsets: NDArray[np.int64]
    premise_segment_tokens: NDArray[np.int32]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens per pair (R, int64)."""
        return np.diff(self.offsets)

    def first_alike(self) -> NDArray[np.int64]:
        """For each pair, the index of the first pair with the same tokens and segments (R, int64)."""
        which_ids = equal_runs(self.input_ids, self.offsets)
        segments = self.premise_segment_tokens.astype(np.int64)
        alike = which_ids * (segments.max(initial=0) + 1) + segments
        _, first, which = np.unique(alike, return_index=True, return_inverse=True)
        return first[which]


@dataclass(frozen=True)
class ComputedBatch:
    """The progress that one computed micro-batch reports.

    `lengths` are the token counts of its rows and of the rows equal to them. `pairs_done` is the number of pairs that
    the batch completes. `halved` says that the batch did not fit into the device's memory. `seconds` is the time spent
    in forward passes since the previous report.
    """

    lengths: NDArray[np.int64]
    pairs_done: int
    halved: bool
    seconds: float
