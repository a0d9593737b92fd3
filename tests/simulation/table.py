"""A schedule as a person reads it: the scenario, then one line a step that did something."""

from __future__ import annotations

from dataclasses import asdict

from simulation import units
from simulation.scenario import Role, Scenario, Start
from simulation.schedule import Ran


def to_text(ran: Ran) -> str:
    """The whole schedule. It must have been run with `is_told`."""
    head = [*_scenario_lines(ran.scenario), ""]
    rows = [("step", "who", "operation", "name", "effect")]
    rows += [(str(step.number), step.who, step.operation, _named(step.name, ran), step.effect) for step in ran.steps]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*head, *lines, "", f"broken: {ran.violation or 'nothing'}"])


def _scenario_lines(scenario: Scenario) -> list[str]:
    kind = "disk" if scenario.is_disk else "S3"
    odd = {"fresh_etags": False, "page_names": 1000, "stale_effects": 0, "may_delete": True}
    told = [f"{name}={getattr(scenario, name)}" for name, plain in odd.items() if getattr(scenario, name) != plain]
    lines = [f"seed {scenario.seed} on {' '.join([kind, *told])}"]
    for past in scenario.past:
        share = past.killed_after
        end = "to its end" if share is None else f"killed after {share:.0%} of its requests"
        lines.append(f"  before: {_role_line(past.start)}, version {past.version}, {end}, {past.days_ago} days ago")
    return [*lines, *(f"  {name}: {_role_line(role)}" for name, role in scenario.roles.items())]


def _role_line(role: Role) -> str:
    if isinstance(role, Start):
        plan_id = units.plan_of(role.files, role.recipe).plan_id
        flags = [name for name in ("replace", "retry_quarantined", "kills_workers") if getattr(role, name)]
        return " ".join(
            [f"start of plan {plan_id[:4]} ({role.files}, recipe {role.recipe}, device {role.device})", *flags]
        )
    return ", ".join(f"{name} {value}" for name, value in asdict(role).items())


def _named(name: str, ran: Ran) -> str:
    """Names with the first four digits of their ids, which are enough to tell them apart."""
    for plan_or_unit in _ids(ran.scenario):
        name = name.replace(plan_or_unit, plan_or_unit[:4])
    return name


def _ids(scenario: Scenario) -> set[str]:
    starts = [role for role in scenario.roles.values() if isinstance(role, Start)]
    plans = [units.plan_of(start.files, start.recipe) for start in [*starts, *(past.start for past in scenario.past)]]
    return {plan.plan_id for plan in plans} | {unit.unit_id for plan in plans for unit in plan.units}
