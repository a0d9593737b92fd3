"""What stands in for the pipeline: it makes the prebuilt objects of each unit durable, as `commit` does."""

from __future__ import annotations

from collections.abc import Iterable

from albert_infer import commit
from albert_infer.commit import Source
from albert_infer.errors import IntegrityError
from albert_infer.storage import Folder
from simulation import units
from simulation.scenario import Start


def label(unit_ids: Iterable[str], start: Start, output: Folder) -> None:
    """Label the units on the start's device, one by one, or quarantine those that kill its workers.

    Raises IntegrityError as `commit.commit_unit` does, if another unit is there already.
    """
    for unit_id in unit_ids:
        planned = units.unit_of(unit_id)
        if planned.is_poisoned and start.kills_workers:
            cut = planned.unit.range
            source = Source("sim://input", cut.first_row, cut.rows)
            commit.commit_quarantine(output, unit_id, source, "poison", f"on device {start.device}")
            continue
        for made in planned.made[start.device]:
            name = (commit.staged_rejected_name if made.is_rejected else commit.staged_name)(unit_id)
            if not output.put_if_absent(name, made.data):
                _refuse_another_unit(made.data, output.read(name), name)


def _refuse_another_unit(ours: bytes, there: bytes, name: str) -> None:
    summary = commit.read_summary(ours)
    if summary is None or not summary.tells_of_the_same_rows(commit.read_summary(there)):
        raise IntegrityError(f"commit {name}", "an object that is not this unit stands there", "look at what wrote it")
