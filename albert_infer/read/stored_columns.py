"""The columns of a published run, as its `plan.json` says: how its rows became several pairs, and what it carried."""

from __future__ import annotations

import pyarrow as pa
from pydantic import BaseModel, ValidationError

from albert_infer.errors import InputError
from albert_infer.schema import Expansion, FoldRule, HypothesisSet, PairColumns, Publish, Split


class _ExpansionRecipe(BaseModel):
    fold: FoldRule
    publish: Publish
    hypotheses: str | None = None
    split_premise: Split | None = None
    split_hypothesis: Split | None = None
    splitter: str = ""
    top_k: int = 1


class _Recipe(BaseModel):
    columns: tuple[str, ...]
    types: tuple[str, ...]
    with_source: bool = False
    review_below: float | None = None
    long_premise: str | None = None
    expansion: _ExpansionRecipe | None = None


class _Settings(BaseModel):
    premise_column: str


class _StoredPlan(BaseModel):
    recipe: _Recipe
    settings: _Settings
    hypotheses: tuple[tuple[str, str], ...] = ()


def stored_columns(plan: bytes, uri: str) -> PairColumns:
    """The columns of the run with this `plan.json`. Raises InputError for JSON that is no plan.

    A carried column has the type null if Arrow does not know its type by name.
    """
    try:
        stored = _StoredPlan.model_validate_json(plan)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        problem = f"it is no plan of a run ({'.'.join(map(str, fault['loc']))}: {fault['msg']})"
        raise InputError(f"read {uri}", problem, "give a run of this version") from error
    recipe = stored.recipe
    expansion = _expansion(recipe.expansion, stored.hypotheses) if recipe.expansion is not None else None
    types = [_type_called(name) for name in recipe.types]
    has_id = recipe.columns[:1] != (stored.settings.premise_column,)
    texts = len(PairColumns(expansion=expansion).texts) + has_id
    return PairColumns(
        pair_id=recipe.columns[0] if has_id else None,
        id_type=types[0] if has_id else None,
        carried=tuple(map(pa.field, recipe.columns[texts:], types[texts:])),
        with_source=recipe.with_source,
        review_below=recipe.review_below,
        with_windows=recipe.long_premise == "window",
        expansion=expansion,
    )


def _expansion(recipe: _ExpansionRecipe, hypotheses: tuple[tuple[str, str], ...]) -> Expansion:
    ids, texts = tuple(zip(*hypotheses, strict=True)) if hypotheses else ((), ())
    return Expansion(
        fold=recipe.fold,
        publish=recipe.publish,
        hypotheses=HypothesisSet(ids, texts) if recipe.hypotheses is not None else None,
        split_premise=recipe.split_premise is not None,
        split_hypothesis=recipe.split_hypothesis is not None,
        top_k=recipe.top_k,
        splitter=recipe.splitter,
    )


def _type_called(name: str) -> pa.DataType:
    try:
        return pa.type_for_alias(name)
    except ValueError:
        return pa.null()
