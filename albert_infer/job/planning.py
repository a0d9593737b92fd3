"""The survey and the plan of a run, for a start that labels and for one that only estimates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from albert_infer import storage
from albert_infer.config import LabelSettings, expansion_of
from albert_infer.errors import InputError, OutputError, SettingsError
from albert_infer.job.access import input_access
from albert_infer.job.computing import Computing
from albert_infer.model.checkpoint import Checkpoint, load_checkpoint
from albert_infer.prepare.parts import unusable_hypothesis
from albert_infer.prepare.sentences import SPLITTER
from albert_infer.prepare.tokenization import PairTokenizer
from albert_infer.read.hypotheses import hypothesis_set
from albert_infer.read.planning import LabelRecipe, Plan, make_plan
from albert_infer.read.selection import find_input
from albert_infer.read.survey import Survey, survey_input
from albert_infer.schema import Expansion, FoldRule, HypothesisSet, LabelSet, NliLabel, probability_columns, same_name
from albert_infer.storage import Folder, S3Access


@dataclass(frozen=True)
class Basis:
    """What a plan is made of: the surveyed input, the checkpoint, and its tokenizer with the rule for long pairs."""

    survey: Survey
    checkpoint: Checkpoint
    tokenizer: PairTokenizer


def basis_of(settings: LabelSettings, output: Folder, load: Callable[..., Checkpoint] = load_checkpoint) -> Basis:
    """Survey the input and load the checkpoint of a run. Raises RefusedError for what no run labels."""
    survey = survey_of(settings, output)
    checkpoint = load(
        settings.model,
        label_order=settings.label_order,
        access=S3Access(settings.s3_endpoint),
        digest=settings.model_digest,
    )
    survey = with_labels(survey, checkpoint.labels)
    tokenizer = checkpoint.tokenizer(max_length=settings.max_length, long_premise=settings.long_premise)
    expansion = survey.columns.expansion
    if expansion is not None and expansion.hypotheses is not None:
        _refuse_long_hypotheses(expansion.hypotheses, tokenizer)
    return Basis(survey, checkpoint, tokenizer)


def survey_of(settings: LabelSettings, output: Folder) -> Survey:
    """The input of a run, by its footers. Raises RefusedError for an input that no run labels."""
    input_objects = find_input(settings.input, input_access(settings), ignore_table_format=settings.ignore_table_format)
    if storage.overlaps(input_objects.uri, output.uri):
        remedy = "choose an output folder that is not inside the input and does not contain it"
        raise OutputError(f"--output {output.uri}", f"it overlaps the input {input_objects.uri}", remedy)
    survey = survey_input(input_objects, settings, _expansion(settings))
    survey.refuse_unreadable(settings)
    survey.refuse_mixed_classes()
    survey.warn_of_columns_in_paths()
    return survey


def with_labels(survey: Survey, labels: LabelSet) -> Survey:
    """The survey, with the columns of a checkpoint with these labels.

    Raises SettingsError for a carried column with such a name, and for a rule of a label that the checkpoint lacks.
    """
    carried = [field.name for field in survey.columns.carried]
    if (clash := same_name(carried, probability_columns(labels))) is not None:
        problem = f"the output has its own column `{clash}`, because the checkpoint has {len(labels)} labels"
        raise SettingsError(f"column `{clash}` with --carry", problem, "rename it in the input, or do not carry it")
    expansion = survey.columns.expansion
    if expansion is not None and expansion.fold is FoldRule.ANY_CONTRADICTION and NliLabel.CONTRADICTION not in labels:
        problem = f"the checkpoint has the labels {', '.join(labels)}, and no contradiction"
        raise SettingsError(f"--fold {expansion.fold}", problem, "give another rule, or a checkpoint with three labels")
    return replace(survey, columns=replace(survey.columns, labels=labels))


def plan_of(settings: LabelSettings, basis: Basis, computing: Computing) -> Plan:
    """The units of a run that computes so."""
    frame = basis.tokenizer.frame
    recipe: LabelRecipe = {
        "model": basis.checkpoint.recipe,
        "precision": computing.precision,
        "truncation": frame.truncation,
        "max_length": frame.max_length,
    }
    return make_plan(basis.survey, settings, recipe, computing.max_batch_tokens)


def _expansion(settings: LabelSettings) -> Expansion | None:
    """How a row of the run becomes several pairs. Raises InputError for a set of hypotheses with a fault."""
    expansion = expansion_of(settings, hypothesis_set(settings, input_access(settings)))
    if expansion is None or not settings.splits:
        return expansion
    return replace(expansion, splitter=SPLITTER)


def _refuse_long_hypotheses(hypotheses: HypothesisSet, tokenizer: PairTokenizer) -> None:
    """Raise InputError for a hypothesis without tokens or without room for a premise: no row could have a result."""
    if (problem := unusable_hypothesis(hypotheses, tokenizer)) is not None:
        raise InputError("the hypotheses of the run", problem, "shorten it, or raise --max-length")
