"""Stores the plan in its run's folder. A later start of the same plan keeps the stored token budget."""

from __future__ import annotations

from dataclasses import replace

from pydantic import BaseModel, ConfigDict, ValidationError

from albert_infer import storage
from albert_infer.config import LabelSettings
from albert_infer.errors import IntegrityError, ObjectMissingError
from albert_infer.output import layout
from albert_infer.read.planning import Plan, canonical_json
from albert_infer.storage import Folder


class _EarlierPlan(BaseModel):
    """The parts of `plan.json` that a later start uses."""

    model_config = ConfigDict(strict=True)

    plan_id: str
    max_batch_tokens: int


def stored_plan(plan: Plan, settings: LabelSettings, output: Folder) -> Plan:
    """Store the plan in its folder, and return the stored plan.

    A plan that is stored already keeps its token budget, unless `settings` set one. Raises IntegrityError if the name
    of the plan belongs to another plan.
    """
    name = layout.plan_name(plan.plan_id)
    data = canonical_json({**plan.to_json(), "settings": settings.model_dump(mode="json")})
    if output.put_if_absent(name, data):
        # The first object of a run. So this is the point to test that the output supports conditional writes.
        storage.check_conditional(output, name, data)
        return plan
    try:
        earlier_budget = _earlier_budget(name, plan, output)
    except ObjectMissingError:
        return stored_plan(plan, settings, output)  # a clean-up deleted the object in the meantime
    if settings.max_batch_tokens is None:
        return replace(plan, max_batch_tokens=earlier_budget)
    output.replace(name, data, output.stat(name))
    return plan


def _earlier_budget(name: str, plan: Plan, output: Folder) -> int:
    """The token budget of the stored plan `name`. Raises IntegrityError if it is another plan."""
    try:
        earlier = _EarlierPlan.model_validate_json(output.read(name))
    except ValidationError:
        earlier = None
    if earlier is None or earlier.plan_id != plan.plan_id:
        raise IntegrityError(f"read {output.uri_of(name)}", "it is not this plan", "move it away and run it again")
    return earlier.max_batch_tokens
