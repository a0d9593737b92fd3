"""The publish protocol as it is: `publication.to_published` and the clean-up, as `run` and `jobs/clean_runs` call them.

Without Ray: units are labelled by `labelling`. What a start takes from its machine, the clock and random numbers,
comes from the simulated store.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cache, lru_cache

from albert_infer.common import logs
from albert_infer.config import LabelSettings
from albert_infer.errors import AlbertInferError, IntegrityError, ObjectMissingError
from albert_infer.operations import cleaning
from albert_infer.output import commit, layout, manifest, publication
from albert_infer.output.manifest import Seal
from albert_infer.read.planning import Plan, Unit, canonical_json
from albert_infer.storage import Folder, InputObjects, check_conditional
from simulation import units
from simulation.labelling import label
from simulation.protocol import Machine
from simulation.scenario import Start


def run_start(start: Start, output: Folder, machine: Machine) -> None:
    """One start of the labelling job, to its end. Raises AlbertInferError."""
    plan = units.plan_of(start.files, start.recipe)
    steps = _Steps(start, plan, output)
    settings = _settings(replace=start.replace, retry_quarantined=start.retry_quarantined)
    try:
        publication.to_published(plan, output, settings, steps, machine.new_id, clock=machine.now)
    except AlbertInferError:
        with suppress(AlbertInferError):
            steps.report()
        raise
    steps.report()


def run_clean_up(output: Folder, limit: datetime, machine: Machine) -> None:
    """One clean-up that deletes what is older than `limit`. Raises AlbertInferError."""
    # In batches of two, so that a clean-up has several of the few objects there are.
    found = cleaning.cleaned(output, limit, delete=True, new_id=machine.new_id, batch=2)
    if found.failure:
        raise found.failure


@dataclass
class _Steps:
    """What `run` does beside publishing."""

    start: Start
    plan: Plan
    output: Folder
    has_begun: bool = False

    def begin(self, replaced_plan: str | None) -> None:
        self.has_begun = True

    def label(self, missing: Sequence[Unit], done: int) -> None:
        self.keep_plan()
        label([unit.unit_id for unit in missing], self.start, self.output)

    def current_input(self) -> InputObjects:
        return InputObjects(self.output.uri, self.output, tuple(file.pin for file in self.plan.files))

    def accounted(self, seal: Seal, input_objects: InputObjects) -> None:
        """Nothing is counted."""

    def keep_plan(self) -> None:
        name, ours = layout.plan_name(self.plan.plan_id), _plan_json(self.start.files, self.start.recipe)
        if self.output.put_if_absent(name, ours):
            check_conditional(self.output, name, ours)
            return
        try:
            begun = json.loads(self.output.read(name))
        except ObjectMissingError:
            self.keep_plan()
            return
        if begun["plan_id"] != self.plan.plan_id:
            raise IntegrityError(f"read {name}", "it is not this plan", "move it away and run it again")

    def report(self) -> None:
        """Put the report in place of an earlier one's, unless there was nothing to do."""
        if self.has_begun:
            name = layout.report_name(self.plan.plan_id)
            self.output.replace(name, b"{}", self.output.stat(name))


@cache
def _settings(*, replace: bool, retry_quarantined: bool) -> LabelSettings:
    return LabelSettings(
        input="in",
        output="out",
        max_bad_files=100,
        max_rejected_share=1,
        replace=replace,
        retry_quarantined=retry_quarantined,
    )


@cache
def _plan_json(files: str, recipe: str) -> bytes:
    return canonical_json(units.plan_of(files, recipe).to_json())


def _make_quick() -> None:
    """Each footer and manifest is read once: they are few, and nothing changes what was read."""
    vars(commit).update(read_summary=lru_cache(commit.read_summary), row_count=lru_cache(commit.row_count))
    vars(manifest).update(parsed=lru_cache(4096)(manifest.parsed))


_make_quick()
# Nobody reads the warnings of a hundred thousand starts.
logs.LOG.setLevel(logging.ERROR)
