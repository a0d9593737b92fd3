"""The survey and the plan of a run, for a start that labels and for one that only estimates."""

from __future__ import annotations

from albert_infer import storage
from albert_infer.config import LabelSettings
from albert_infer.errors import OutputError
from albert_infer.job.access import input_access
from albert_infer.job.computing import Computing
from albert_infer.model.checkpoint import Checkpoint
from albert_infer.prepare.tokenization import PairTokenizer
from albert_infer.read.planning import LabelRecipe, Plan, make_plan
from albert_infer.read.selection import find_input
from albert_infer.read.survey import Survey, survey_input
from albert_infer.storage import Folder


def survey_of(settings: LabelSettings, output: Folder) -> Survey:
    """The input of a run, by its footers. Raises RefusedError for an input that no run labels."""
    input_objects = find_input(settings.input, input_access(settings), ignore_table_format=settings.ignore_table_format)
    if storage.overlaps(input_objects.uri, output.uri):
        remedy = "choose an output folder that is not inside the input and does not contain it"
        raise OutputError(f"--output {output.uri}", f"it overlaps the input {input_objects.uri}", remedy)
    survey = survey_input(input_objects, settings)
    survey.refuse_unreadable(settings)
    survey.refuse_mixed_classes()
    survey.warn_of_columns_in_paths()
    return survey


def plan_of(
    settings: LabelSettings, survey: Survey, checkpoint: Checkpoint, tokenizer: PairTokenizer, computing: Computing
) -> Plan:
    """The units of a run that computes so."""
    recipe: LabelRecipe = {
        "model": checkpoint.recipe,
        "precision": computing.precision,
        "truncation": tokenizer.truncation,
        "max_length": tokenizer.max_length,
    }
    return make_plan(survey, settings, recipe, computing.max_batch_tokens)
