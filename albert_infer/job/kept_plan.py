"""The plan in its run's folder: a later start of the same plan keeps its token budget."""

from __future__ import annotations

from dataclasses import replace

from pydantic import BaseModel, ConfigDict, ValidationError

from albert_infer import storage
from albert_infer.config import LabelSettings
from albert_infer.errors import IntegrityError, ObjectMissingError
from albert_infer.output import layout
from albert_infer.read.planning import Plan, canonical_json
from albert_infer.storage import Folder


class _BegunPlan(BaseModel):
    """What a later start takes over of `plan.json`."""

    model_config = ConfigDict(strict=True)

    plan_id: str
    max_batch_tokens: int


def kept_plan(plan: Plan, settings: LabelSettings, output: Folder) -> Plan:
    """Put the plan into its folder, and return it as it is there.

    A plan that was begun keeps its token budget, unless `settings` give one. Raises IntegrityError if another plan has
    its name.
    """
    name = layout.plan_name(plan.plan_id)
    data = canonical_json({**plan.to_json(), "settings": settings.model_dump(mode="json")})
    if output.put_if_absent(name, data):
        # The first object of a run, and nothing that counts yet: here it shows whether the output keeps conditions.
        storage.check_conditional(output, name, data)
        return plan
    try:
        begun = _begun_budget(name, plan, output)
    except ObjectMissingError:
        return kept_plan(plan, settings, output)  # a clean-up has deleted it since
    if settings.max_batch_tokens is None:
        return replace(plan, max_batch_tokens=begun)
    output.replace(name, data, output.stat(name))
    return plan


def _begun_budget(name: str, plan: Plan, output: Folder) -> int:
    """The token budget of the plan under `name`. Raises IntegrityError if it is another plan."""
    try:
        begun = _BegunPlan.model_validate_json(output.read(name))
    except ValidationError:
        begun = None
    if begun is None or begun.plan_id != plan.plan_id:
        found, remedy = "it is not this plan", "move it away and run it again"
        raise IntegrityError(f"read {output.uri_of(name)}", found, remedy)
    return begun.max_batch_tokens
