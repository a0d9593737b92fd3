"""Surveys the gold set that gates a run, before Ray starts if the run needs it."""

from __future__ import annotations

from albert_infer.config import LabelSettings
from albert_infer.output import inspection
from albert_infer.output.inspection import Snapshot
from albert_infer.preflight.gold import GoldColumns, GoldSet, survey_gold
from albert_infer.schema import LabelSet
from albert_infer.storage import Folder, S3Access


def gold_before_ray(
    settings: LabelSettings, output: Folder, labels: LabelSet
) -> tuple[Snapshot | None, GoldSet | None]:
    """A first look at the output, and the gold set if the run needs it. A bad gold set then costs no Ray cluster.

    If the output may be sealed or published already, the run may need no gold set. The plan decides that later.
    """
    if settings.gold is None:
        return None, None
    first = inspection.look(output)
    return first, gold_set(settings, labels) if first.is_unsealed else None


def gold_set(settings: LabelSettings, labels: LabelSet) -> GoldSet | None:
    """The gold set for these labels, from its footers. None if the settings name none.

    Raises InputError like `survey_gold`.
    """
    if settings.gold is None:
        return None
    columns = GoldColumns(settings.gold_column, settings.premise_column, settings.hypothesis_column)
    return survey_gold("--gold", settings.gold, columns, S3Access(settings.s3_endpoint), labels=labels)
