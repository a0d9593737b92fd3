"""Labels a folder on a cluster of a given size and tells what the stages did; for test_pipeline."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import ray
from job_runs import run_here

from albert_infer import storage
from albert_infer.config import LabelSettings
from albert_infer.model.checkpoint import Checkpoint, load_checkpoint
from albert_infer.pipeline.connecting import connected
from albert_infer.pipeline.labelling import RayLabelling
from albert_infer.pipeline.resources import worker_resources
from albert_infer.pipeline.session import reserved, session_settings
from albert_infer.pipeline.stages import UnitSink
from albert_infer.pipeline.unit import LabelTask, source_of
from albert_infer.preflight.checks import Checks
from albert_infer.preflight.sample import chosen_rows
from albert_infer.read.planning import Plan, make_plan
from albert_infer.read.survey import Survey, survey_input
from albert_infer.schema import Precision


@dataclass(frozen=True)
class WatchedCheckpoint(Checkpoint):
    """A checkpoint that adds a line to a file whenever it is pickled."""

    picklings: Path

    def __reduce__(self) -> tuple[Any, ...]:
        with self.picklings.open("a") as lines:
            lines.write("pickled\n")
        return Checkpoint, tuple(getattr(self, field.name) for field in fields(Checkpoint))


def probe(cpus: int, gpus: int, folder: Path, flags: Sequence[object]) -> dict[str, Any]:
    """Label `in` to `out` with `checkpoint`, all in `folder`; its file `picklings` has a line for each pickling of it.

    A cluster that RAY_ADDRESS names is joined, and has that size already. With flags the job runs there as well, first
    without --allow-cpu and then with it.
    """
    address = os.environ["RAY_ADDRESS"]
    size: dict[str, Any] = {}
    if address == "local":
        size = {"num_cpus": cpus, "num_gpus": gpus, "include_dashboard": False}
    ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **size)
    source, output, model = (str(folder / name) for name in ("in", "out", "checkpoint"))
    settings = LabelSettings(input=source, output=output, model=model, unit_rows=16, allow_cpu=True)
    survey = survey_input(storage.resolve_input(source), settings)
    checkpoint = load_checkpoint(model)
    plan = make_plan(survey, settings, {"model": {"digests": {}, "label_map": []}}, 1024)
    watched = WatchedCheckpoint(
        **{field.name: getattr(checkpoint, field.name) for field in fields(Checkpoint)}, picklings=folder / "picklings"
    )
    with connected(debug=False) as nodes:
        stages = seen(settings, survey, plan, watched, worker_resources(settings, nodes))
    if flags:
        stages["refused"] = job_of(*flags)
        stages["job"] = job_of(*flags, "--allow-cpu")
    return stages


def seen(settings: LabelSettings, survey: Survey, plan: Plan, checkpoint: Checkpoint, workers: Any) -> dict[str, Any]:
    """Run preflight and stages; which operators Ray made of them, and what the classify actors were called with."""
    task = LabelTask(
        source=survey.folder,
        output=storage.open_folder(settings.output),
        columns=survey.columns,
        checkpoint=checkpoint,
        tokenizer=checkpoint.tokenizer(max_length=None),
        precision=Precision.FP32,
    )
    labelling = RayLabelling(task, workers)
    checked = labelling.preflight(
        chosen_rows(plan.units, 30), Checks(task.tokenizer, Precision.INT8, plan.max_batch_tokens, compared=True)
    )
    sources = {unit.unit_id: source_of(unit, task.source) for unit in plan.units}
    with session_settings(), reserved(workers) as place:
        dataset = labelling.stages().labelled(plan.units, place, plan.max_batch_tokens)
        sink = UnitSink(ray.put(sources), task.output, task.columns, labelling.board)
        dataset.write_datasink(sink, ray_remote_args=place)
    told = labelling.so_far()
    return {
        "operators": re.findall(r"^Operator \d+ (.+): \d+ tasks", dataset.stats(), re.MULTILINE),
        "units": {unit.unit_id: unit.range.first_row for unit in plan.units},
        "told": {"units": told.units, "rows": told.done.rows, "devices": sorted(told.devices)},
        "workers": asdict(workers),
        "preflight": asdict(checked),
    }


def job_of(*flags: object) -> dict[str, Any]:
    """Run the job in the session; its exit code and its stderr."""
    outcome = run_here(*flags)
    return {"exit_code": outcome.exit_code, "errors": outcome.stderr.splitlines()}
