"""The pairs that every row of the benchmark labels, and the folder of them that whole jobs read."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

import albert_infer
from albert_infer import schema
from albert_infer.schema import HYPOTHESIS, PAIR_ID, PREMISE, NliLabel

SHARED_FOLDER: Final = Path(__file__).parents[2] / "shared" / "data"
SNLI_FILE: Final = "snli_test_a.parquet"
# Beyond the few rows that have one premise.
STRIDE: Final = 101
BUILTIN_PAIRS: Final = Path(albert_infer.__file__).parent / "model" / "builtin" / "pairs.parquet"


def default_source() -> Path:
    """The real pairs that stand beside the project, else the few that ship in the package."""
    shared = SHARED_FOLDER / SNLI_FILE
    return shared if shared.exists() else BUILTIN_PAIRS


def read_pairs(source: Path, count: int) -> pa.Table:
    """The first `count` pairs of a Parquet file or folder: `pair_id`, `premise`, `hypothesis`, all strings.

    Where there are fewer, they are repeated with a counter appended to both texts, so that no pair occurs twice.
    """
    found = ds.dataset(source, format="parquet").to_table(columns=[PREMISE, HYPOTHESIS])
    rounds = -(-count // found.num_rows)
    repeated = pa.concat_tables([_numbered(found, number) for number in range(rounds)]).slice(0, count)
    ids = pa.array([f"pair-{row:08d}" for row in range(count)])
    return repeated.add_column(0, PAIR_ID, ids).combine_chunks()


def read_texts(source: Path) -> pa.Table:
    """All pairs of a Parquet file, or of all in a folder in the order of their names; their texts alone."""
    files = sorted(source.glob("*.parquet")) if source.is_dir() else [source]
    return pa.concat_tables([pq.read_table(file, columns=[PREMISE, HYPOTHESIS]) for file in files]).combine_chunks()


def recombined(texts: pa.Table, first: int, count: int) -> pa.Table:
    """Pairs `first` and following of a list without end: in each round over `texts` premises have other hypotheses.

    So a part of it holds as many texts and words as real pairs do, and hardly a pair twice. Columns as of `read_pairs`.
    """
    numbers = np.arange(first, first + count)
    places, rounds = numbers % texts.num_rows, numbers // texts.num_rows
    premises = texts[PREMISE].take(pa.array(places))
    hypotheses = texts[HYPOTHESIS].take(pa.array((places + STRIDE * rounds) % texts.num_rows))
    ids = pa.array([f"pair-{number:08d}" for number in numbers])
    return pa.table({PAIR_ID: ids, PREMISE: premises, HYPOTHESIS: hypotheses})


def text_pairs(table: pa.Table) -> list[tuple[str, str]]:
    """Premise and hypothesis of each row, as the peers take them."""
    return list(zip(table[PREMISE].to_pylist(), table[HYPOTHESIS].to_pylist(), strict=True))


def write_files(folder: Path, table: pa.Table, rows_per_file: int) -> None:
    """Write `table` into a new folder as Parquet files of `rows_per_file` rows each."""
    folder.mkdir(parents=True)
    for number, first in enumerate(range(0, table.num_rows, rows_per_file)):
        pq.write_table(table.slice(first, rows_per_file), folder / f"pairs-{number:04d}.parquet")


def labelled(unit_id: str, table: pa.Table) -> pa.Table:
    """The pairs as the classify stage leaves them, with labels that mean nothing but compress as real ones."""
    rows = table.num_rows
    probabilities = np.random.default_rng(0).dirichlet(np.ones(len(NliLabel)), rows).astype(np.float32)
    added = {
        schema.LABEL: pa.array([list(NliLabel)[best].value for best in probabilities.argmax(axis=1)]),
        **{name: pa.array(column) for name, column in zip(schema.PROBABILITIES, probabilities.T.copy(), strict=True)},
        schema.N_TOKENS: pa.array([30] * rows, pa.int32()),
        schema.TRUNCATED: pa.array([False] * rows),
        schema.REJECTION: pa.nulls(rows, pa.string()),
        schema.DETAIL: pa.nulls(rows, pa.string()),
        schema.UNIT: pa.repeat(unit_id, rows),
        schema.ROW: pa.array(range(rows), pa.int64()),
        schema.UNIT_QUARANTINE: pa.nulls(rows, pa.string()),
    }
    for name, column in added.items():
        table = table.append_column(name, column)
    return table


def _numbered(table: pa.Table, number: int) -> pa.Table:
    suffix = f" {number}" if number else ""
    texts = [pc.binary_join_element_wise(table[name].cast(pa.string()), suffix, "") for name in (PREMISE, HYPOTHESIS)]
    return pa.table(texts, names=[PREMISE, HYPOTHESIS])
