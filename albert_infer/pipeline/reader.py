"""What a Ray worker does to read: a whole unit for labelling, or some rows of it for the checks. Without Ray Data.

Ray Data takes as long to load as a checkpoint, and the checks, which come first, do not need it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import pyarrow as pa
import ray

from albert_infer.pipeline.attempts import MAX_LOST_ATTEMPTS
from albert_infer.pipeline.board import RunBoard
from albert_infer.pipeline.unit import MAX_PREPARED_BYTES, no_rows, prepared_unit, quarantine_marker, sampled_unit
from albert_infer.preflight.sample import ChosenRows, SampledUnit, sampled_schema
from albert_infer.prepare.tokenization import PairTokenizer
from albert_infer.read.decoding import PairReader, kept_reader
from albert_infer.read.planning import Unit
from albert_infer.schema import PairColumns, Quarantine
from albert_infer.storage import Folder

Shared = TypeVar("Shared")


@dataclass(frozen=True)
class UnitReader:
    """The first stage. Travels with every read task, so it holds references."""

    source: Folder
    columns: PairColumns
    tokenizer: ray.ObjectRef[PairTokenizer]
    board: RunBoard
    # What is larger Ray would cut.
    max_bytes: int = MAX_PREPARED_BYTES

    def prepared(self, unit: Unit) -> pa.Table:
        """`prepared_unit` on a worker; the marker of a unit that kills its workers."""
        with self.board.attempt("read", unit.unit_id) as healthy:
            if not healthy:
                return poison_marker(unit.unit_id, "reading", self.columns.prepared)
            return prepared_unit(unit, self._pair_reader(), unpickled(self.tokenizer), self.max_bytes)

    def sampled(self, chosen: ChosenRows) -> SampledUnit:
        """`sampled_unit` on a worker; no rows of a unit that kills its workers."""
        with self.board.attempt("read", chosen.unit.unit_id) as healthy:
            if not healthy:
                return no_rows(sampled_schema(self.columns))
            return sampled_unit(chosen, self._pair_reader(), unpickled(self.tokenizer))

    def _pair_reader(self) -> PairReader:
        return kept_reader(self.source, self.columns)  # type: ignore[arg-type]  # a folder of either kind can be hashed


def poison_marker(unit_id: str, doing: str, prepared: pa.Schema) -> pa.Table:
    """The marker of a unit that kills its workers."""
    return quarantine_marker(unit_id, Quarantine.POISON_UNIT, poison_detail(doing), prepared)


def poison_detail(doing: str) -> str:
    """Why the unit is given up."""
    return f"{MAX_LOST_ATTEMPTS} workers died while {doing} it"


@lru_cache(maxsize=4)
def unpickled(reference: ray.ObjectRef[Shared]) -> Shared:
    """What the reference stands for, unpickled once a worker process: a process works on many units."""
    return ray.get(reference)
