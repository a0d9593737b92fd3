"""One start of a run, from settings to report: survey, plan, label what is missing, seal, publish.

Reads like the way of the data; every step is another module's.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

from albert_infer import pipeline, progress, publish, storage
from albert_infer.classification import DEFAULT_BATCH_TOKENS
from albert_infer.config import LabelSettings
from albert_infer.errors import AlbertInferError, IntegrityError, OutputError, SupersededError
from albert_infer.model import Checkpoint, load_checkpoint
from albert_infer.pipeline import LabelTask, ProgressBoard
from albert_infer.planning import Plan, Survey, canonical_json, make_plan, survey_input
from albert_infer.publish import Standing
from albert_infer.report import Report, quarantine_counts, write_report
from albert_infer.resources import WorkerResources, cpu_flags, resolved_precision, worker_resources
from albert_infer.schema import Precision
from albert_infer.storage import Folder


@dataclass(frozen=True)
class Run:
    """A plan, where it is worked on, and with what."""

    settings: LabelSettings
    survey: Survey
    checkpoint: Checkpoint
    output: Folder
    workers: WorkerResources
    precision: Precision
    plan: Plan
    report: Report
    begun: float


def label_pairs(settings: LabelSettings) -> Report:
    """Label everything at `settings.input` and publish it at `settings.output`.

    Returns the report of this start, which is written into the run's folder too, also when the run ends unpublished.
    Raises AlbertInferError.
    """
    begun = time.monotonic()
    output = storage.open_folder(settings.output, endpoint=settings.s3_endpoint)
    survey = _survey(settings, output)
    checkpoint = load_checkpoint(settings.model, label_order=settings.label_order, endpoint=settings.s3_endpoint)
    # Built here for its refusal of a --max-length that the checkpoint cannot read, before Ray starts.
    checkpoint.tokenizer(max_length=settings.max_length, truncation=settings.truncation)
    storage.check_writable(output)
    planned = time.monotonic() - begun
    with pipeline.connected(debug=settings.debug) as nodes:
        run = _planned(settings, survey, checkpoint, output, worker_resources(settings, nodes), begun)
        run.report.seconds.planning = planned
        now = publish.standing(output)
        if now is not None and now.plan_id == run.plan.plan_id:
            return _already_published(run, now)
        _refuse_another_plan(run, now)
        with _reported(run):
            _finish(run, now)
    return run.report


def _survey(settings: LabelSettings, output: Folder) -> Survey:
    found = storage.resolve_input(settings.input, endpoint=settings.s3_endpoint)
    if storage.overlaps(found.uri, output.uri):
        remedy = "choose an output folder that neither lies inside the input nor holds it"
        raise OutputError(f"--output {output.uri}", f"it overlaps the input {found.uri}", remedy)
    return survey_input(found, settings)


def _planned(
    settings: LabelSettings,
    survey: Survey,
    checkpoint: Checkpoint,
    output: Folder,
    workers: WorkerResources,
    begun: float,
) -> Run:
    precision = resolved_precision(settings, workers.device, cpu_flags())
    tokenizer = checkpoint.tokenizer(max_length=settings.max_length, truncation=settings.truncation)
    model = {"digests": checkpoint.digests, "label_map": list(checkpoint.label_order)}
    recipe = {
        "model": model,
        "precision": precision,
        "truncation": settings.truncation,
        "max_length": tokenizer.max_length,
    }
    plan = make_plan(survey, settings, recipe, settings.max_batch_tokens or DEFAULT_BATCH_TOKENS[workers.device])
    report = Report(plan_id=plan.plan_id, rows=plan.rows_in, quarantined=quarantine_counts(_unread(plan)))
    report.ignored = survey.ignored
    report.model = {"source": checkpoint.source, **model}
    report.workers = asdict(workers)
    report.device, report.precision = str(workers.device), str(precision)
    return Run(settings, survey, checkpoint, output, workers, precision, plan, report, begun)


def _already_published(run: Run, now: Standing) -> Report:
    """Nothing to label: only what an earlier start left behind may go."""
    publish.remove_leftovers(now.manifest, run.output)
    run.report.count(now.manifest)
    run.report.units = {"done_before": len(run.plan.units), "labelled": 0}
    return run.report


def _refuse_another_plan(run: Run, now: Standing | None) -> None:
    if now is not None and not run.settings.replace:
        asked = f"publish plan {run.plan.plan_id} at {run.output.uri}"
        remedy = "give another --output, or --replace to publish over it; units that both share are kept"
        raise SupersededError(asked, f"plan {now.plan_id} is published there", remedy)


def _finish(run: Run, now: Standing | None) -> None:
    """Take the run from wherever it stands to published."""
    publish.refuse_bad_files(_unread(run.plan), run.settings.max_bad_files)
    manifest = publish.sealed(run.plan, run.output, now)
    if manifest is None:
        _label_missing(run, now)
    publishing = time.monotonic()
    if manifest is None:
        manifest = publish.seal(run.plan, run.survey.folder, run.output, now, run.settings)
    run.report.count(manifest)
    publish.publish(manifest, run.output, now)
    run.report.seconds.publishing = time.monotonic() - publishing


def _label_missing(run: Run, now: Standing | None) -> None:
    """Label the units that are not there yet, and note how fast that went."""
    plan, report = _kept(run.plan, run.output), run.report
    finished = publish.finished_units(plan, run.output, now)
    missing = [unit for unit in plan.units if unit.unit_id not in finished]
    report.units = {"done_before": len(finished), "labelled": len(missing)}
    report.max_batch_tokens = plan.max_batch_tokens
    if not missing:
        return
    board = ProgressBoard.start()
    done_rows = plan.rows_in - sum(unit.range.rows for unit in missing)
    with progress.shown(plan.rows_in, done_rows, board.so_far, run.workers.device):
        pipeline.label_units(missing, _task(run, plan), run.workers, board)
    so_far, ended = board.so_far(), time.time()
    first = so_far.first_told or ended
    report.seconds.labelling = max(ended - first, 1e-3)
    report.seconds.startup = time.monotonic() - run.begun - report.seconds.planning - report.seconds.labelling
    report.device = ", ".join(sorted(so_far.devices))
    report.padding_share = so_far.padding_share
    report.pairs_per_second = so_far.done.rows / report.seconds.labelling
    report.tokens_per_second = so_far.done.tokens / report.seconds.labelling


def _task(run: Run, plan: Plan) -> LabelTask:
    return LabelTask(
        source=run.survey.folder,
        output=run.output,
        columns=run.survey.columns,
        checkpoint=run.checkpoint,
        max_length=run.settings.max_length,
        truncation=run.settings.truncation,
        precision=run.precision,
        max_batch_tokens=plan.max_batch_tokens,
    )


def _kept(plan: Plan, output: Folder) -> Plan:
    """The plan as it stands in the run's folder: one that was begun before keeps its token budget."""
    name = f"{publish.run_folder(plan.plan_id)}plan.json"
    if output.put_if_absent(name, canonical_json(plan.to_json())):
        return plan
    try:
        begun = json.loads(output.read(name))
        if begun["plan_id"] == plan.plan_id:
            return replace(plan, max_batch_tokens=int(begun["max_batch_tokens"]))
    except (ValueError, KeyError, TypeError) as error:
        raise _foreign_plan(name, output) from error
    raise _foreign_plan(name, output)


def _foreign_plan(name: str, output: Folder) -> IntegrityError:
    return IntegrityError(f"read {output.uri_of(name)}", "it is not this plan", "move it away and run it again")


def _unread(plan: Plan) -> dict[str, Any]:
    """What planning alone has to quarantine, as a manifest would tell it."""
    return {"files": [asdict(bad) for bad in plan.bad], "units": [], "rows_known": 0}


@contextmanager
def _reported(run: Run) -> Iterator[None]:
    """Write the report of this start, whatever its end."""
    try:
        yield
    except AlbertInferError as error:
        run.report.exit_code = error.exit_code
        raise
    finally:
        write_report(run.report, run.output, f"{publish.run_folder(run.plan.plan_id)}report.json")
