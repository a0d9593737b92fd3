"""What stands in for the pipeline: it makes the prebuilt objects of each unit durable, by `commit`."""

from __future__ import annotations

from collections.abc import Iterable

from albert_infer.output import commit
from albert_infer.output.commit import Source
from albert_infer.storage import Folder
from simulation import units
from simulation.scenario import Start


def label(unit_ids: Iterable[str], start: Start, output: Folder) -> None:
    """Label the units on the start's device, one by one, or quarantine those that kill its workers.

    Raises as `commit.commit_unit` does.
    """
    for unit_id in unit_ids:
        planned = units.unit_of(unit_id)
        if planned.is_poisoned and start.kills_workers:
            cut = planned.unit.range
            source = Source("sim://input", cut.first_row, cut.rows)
            commit.commit_quarantine(output, unit_id, source, "poison", f"on device {start.device}")
            continue
        for made in planned.made[start.device]:
            ending = ".rejected.parquet" if made.is_rejected else ".parquet"
            commit._put(output, f"_units/{unit_id}{ending}", made.data, made.summary)
