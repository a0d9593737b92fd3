"""The names and types of columns, between the steps and in the output."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final

import pyarrow as pa

from albert_infer.schema.labels import LABEL_SETS, THREE_LABELS, LabelSet

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

LABEL: Final = "label"
N_TOKENS: Final = "n_tokens"
TRUNCATED: Final = "truncated"
# Only in runs with the setting for them.
NEEDS_REVIEW: Final = "needs_review"
N_WINDOWS: Final = "n_windows"
REJECTION: Final = "rejection"
DETAIL: Final = "detail"


def probability_columns(labels: LabelSet) -> tuple[str, ...]:
    """The name of the column with the probability of each label."""
    return tuple(f"p_{label}" for label in labels)


def labels_in(columns: Collection[str]) -> LabelSet:
    """The labels of a published table, by the names of its columns. Three labels for a table without probabilities."""
    sets = LABEL_SETS.values()
    return next((labels for labels in sets if {*probability_columns(labels)} <= {*columns}), THREE_LABELS)


def probable_label_fields(labels: LabelSet) -> tuple[pa.Field, ...]:
    """The columns of the label and of its probabilities."""
    return (pa.field(LABEL, pa.string()), *(pa.field(name, pa.float32()) for name in probability_columns(labels)))


def label_fields(labels: LabelSet) -> tuple[pa.Field, ...]:
    """The columns that labelling adds to a pair in every run with these labels."""
    return (*probable_label_fields(labels), pa.field(N_TOKENS, pa.int32()), pa.field(TRUNCATED, pa.bool_()))


PROBABILITIES: Final = probability_columns(THREE_LABELS)
LABEL_FIELDS: Final = label_fields(THREE_LABELS)
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
# Added by `tokenization` where a row becomes several pairs: the tokens of each part of a text, and where the parts
# begin and end in the text, in characters: two numbers for each sentence of a text that is split.
PREMISE_PARTS: Final = "_premise_parts"
HYPOTHESIS_PARTS: Final = "_hypothesis_parts"
PREMISE_BOUNDS: Final = "_premise_bounds"
HYPOTHESIS_BOUNDS: Final = "_hypothesis_bounds"
# The pairs of a row with their labels, from `classification` to the commit.
PAIRS: Final = "_pairs"
PARTS: Final = pa.large_list(pa.list_(pa.int32()))
BOUNDS: Final = pa.list_(pa.int32())

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
