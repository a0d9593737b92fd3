"""Publishing of units that are labelled already: the steps of a start without Ray and without a checkpoint."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from albert_infer import storage
from albert_infer.config import LabelSettings
from albert_infer.output import layout
from albert_infer.output.manifest import Seal
from albert_infer.output.publication import End, to_published
from albert_infer.read.planning import Plan, Unit
from albert_infer.storage import Folder, InputObjects


@dataclass
class StagedRun:
    """A plan whose units are all labelled and wait to be published."""

    plan: Plan
    output: Folder
    settings: LabelSettings

    def publish(self) -> End:
        """Take it to published. Raises AlbertInferError, and RuntimeError if a unit is missing."""
        return to_published(self.plan, self.output, self.settings, self)

    def begin(self, replaced_plan: str | None) -> None:
        """Nothing."""

    def label(self, missing: Sequence[Unit], done: int) -> None:
        """Keep the plan."""
        if missing:
            raise RuntimeError(f"{len(missing)} units are not labelled, {done} are")
        self.keep_plan()

    def current_input(self) -> InputObjects:
        """List the input again."""
        return storage.resolve_input(self.settings.input)

    def accounted(self, seal: Seal, input_objects: InputObjects) -> None:
        """Nothing."""

    def keep_plan(self) -> None:
        """Write the plan as the job does."""
        plan = {**self.plan.to_json(), "settings": self.settings.model_dump(mode="json")}
        self.output.put_if_absent(layout.plan_name(self.plan.plan_id), json.dumps(plan).encode())
