"""Pairs for the tests: as Arrow tables, as Parquet files, as labelled units; and small tokenizers for them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq
import vocabulary
from hypothesis import settings
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from albert_infer import schema, storage
from albert_infer.config import LabelSettings
from albert_infer.read.planning import LabelRecipe, Plan, make_plan
from albert_infer.read.survey import Survey, survey_input
from albert_infer.schema import HYPOTHESIS, PREMISE, NliLabel, PairColumns, Rejection

# For property tests: a shared machine may be busy at any moment, so no example has a deadline. The profile, which
# `conftest.py` names, says how many examples.
PROPERTY: Final = settings(deadline=None)
# The same for those that write files or load a checkpoint, which takes longer.
FILE_PROPERTY: Final = settings(PROPERTY, max_examples=PROPERTY.max_examples // 2)

WORDS: Final = vocabulary.WORDS
SPECIAL_TOKENS: Final = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
RECIPE: Final[LabelRecipe] = {
    "model": {"digests": {"model.safetensors": "0"}, "label_map": [*NliLabel]},
    "precision": "fp32",
    "truncation": "premise",
}


def bytes_column(texts: Sequence[bytes | None]) -> pa.Array:
    """A string column of these bytes, whether they are UTF-8 or not: what a damaged file holds."""
    raw = pa.array(texts, pa.binary())
    return pa.Array.from_buffers(pa.string(), len(raw), raw.buffers(), raw.null_count)


def pair_table(premises: Sequence[str | None], hypotheses: Sequence[str | None]) -> pa.Table:
    return pa.table({PREMISE: pa.array(premises, pa.string()), HYPOTHESIS: pa.array(hypotheses, pa.string())})


def numbered_pairs(rows: int, start: int = 0) -> pa.Table:
    """Pairs with ids, no two rows alike."""
    numbers = range(start, start + rows)
    table = pair_table([f"a man plays {row}" for row in numbers], [f"the dog sleeps {row}" for row in numbers])
    return table.add_column(0, "pair_id", pa.array([f"id{row}" for row in numbers], pa.string()))


def with_class_names(pairs: pa.Table, column: str, names: Sequence[str]) -> pa.Table:
    """The table as `datasets` writes one whose column is a ClassLabel: numbers, and in the metadata what they mean."""
    features = {column: {"names": [*names], "_type": "ClassLabel"}, PREMISE: {"dtype": "string", "_type": "Value"}}
    return pairs.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def write_pairs(path: Path, pairs: pa.Table, row_group_size: int = 1000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pairs, path, row_group_size=row_group_size, write_page_checksum=True)
    return path


def settings_for(source: Path, **settings: object) -> LabelSettings:
    return LabelSettings.model_validate({"input": str(source), "output": "out", **settings})


def surveyed(source: Path, **settings: object) -> Survey:
    return survey_input(storage.resolve_input(str(source)), settings_for(source, **settings))


def planned(source: Path, recipe: LabelRecipe | None = None, **settings: object) -> Plan:
    return make_plan(surveyed(source, **settings), settings_for(source, **settings), {**RECIPE, **(recipe or {})}, 512)


def labelled_unit(
    unit_id: str, pairs: pa.Table, rejections: Sequence[Rejection | None], columns: PairColumns
) -> pa.Table:
    """`pairs` as the classify stage leaves them: labels that follow from the row's number, nulls for rejected rows."""
    rows = pairs.num_rows
    bad = [rejection is not None for rejection in rejections]
    labels = [None if skip else list(NliLabel)[row % 3] for row, skip in enumerate(bad)]
    added = {
        schema.LABEL: pa.array(labels, pa.string()),
        **{name: pa.array([None if skip else 1 / 3 for skip in bad], pa.float32()) for name in schema.PROBABILITIES},
        schema.N_TOKENS: pa.array([0 if skip else 5 + row for row, skip in enumerate(bad)], pa.int32()),
        schema.TRUNCATED: pa.array([not skip and row % 4 == 0 for row, skip in enumerate(bad)]),
        schema.REJECTION: pa.array(rejections, pa.string()),
        schema.DETAIL: pa.array(["why" if skip else None for skip in bad], pa.string()),
        schema.UNIT: pa.array([unit_id] * rows, pa.string()),
        schema.ROW: pa.array(range(rows), pa.int64()),
        schema.UNIT_QUARANTINE: pa.nulls(rows, pa.string()),
    }
    table = pairs.select(columns.input_names).rename_columns([field.name for field in columns.pair_fields])
    for name, column in added.items():
        table = table.append_column(name, column)
    return table


def wordpiece() -> Tokenizer:
    """A WordPiece tokenizer of a few words that frames pairs as ALBERT does."""
    vocabulary = {token: number for number, token in enumerate((*SPECIAL_TOKENS, *WORDS, *"0123456789"))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))  # noqa: S106  no password
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return framed(tokenizer)


def unigram() -> Tokenizer:
    """A Unigram tokenizer as SentencePiece's: of ALBERT's own kind."""
    pieces = [*SPECIAL_TOKENS, "▁", *(f"▁{word}" for word in WORDS), *"abcdefghijklmnopqrstuvwxyz0123456789"]
    tokenizer = Tokenizer(models.Unigram([(piece, -float(number)) for number, piece in enumerate(pieces)], unk_id=1))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKD(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    return framed(tokenizer)


def framed(tokenizer: Tokenizer) -> Tokenizer:
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")],
    )
    return tokenizer
