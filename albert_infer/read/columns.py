"""Which columns a run has: named by the settings, found in the footers of all its files, one type for each.

Knows nothing of rows. The types of several files are united where that changes no value; a file whose type cannot be
united with those before it does not decide, and is told apart by `fitness.unfit`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol

import pyarrow as pa

from albert_infer import schema
from albert_infer.common.column_types import optional, plain_type, united
from albert_infer.common.extension_types import is_unknown_extension
from albert_infer.errors import SettingsError
from albert_infer.read import fitness
from albert_infer.read.footers import clean
from albert_infer.schema import LongPremiseRule, PairColumns

ALL = ("all",)


class ColumnSettings(Protocol):
    """Which columns of an input make its pairs, and which are kept: `LabelSettings`, or a gold set's."""

    @property
    def premise_column(self) -> str: ...  # noqa: D102  (each as the setting of its name)

    @property
    def hypothesis_column(self) -> str: ...  # noqa: D102

    @property
    def id_column(self) -> str | None: ...  # noqa: D102

    @property
    def carry(self) -> tuple[str, ...]: ...  # noqa: D102

    @property
    def carry_source(self) -> bool: ...  # noqa: D102

    @property
    def review_below(self) -> float | None: ...  # noqa: D102

    @property
    def long_premise(self) -> LongPremiseRule: ...  # noqa: D102

    @property
    def reserved_names(self) -> frozenset[str]:
        """What a kept column must not be called."""
        ...


@dataclass(frozen=True)
class FileColumns:
    """The columns of one readable file, and what it is called in messages."""

    name: str
    schema: pa.Schema

    @cached_property
    def types(self) -> Mapping[str, Any]:
        """The plain type of each column; of several with one name the first, and `fitness.unfit` tells of them."""
        names, types = self.schema.names, self.schema.types
        return {name: plain_type(kind) for name, kind in zip(reversed(names), reversed(types), strict=True)}

    @cached_property
    def extensions(self) -> frozenset[str]:
        """The columns that are or hold an extension type that is not taken."""
        return frozenset(field.name for field in self.schema if is_unknown_extension(field))


@dataclass(frozen=True)
class RunColumns:
    """The columns of a run, and for those whose type a file decided, which file that was."""

    columns: PairColumns
    origins: Mapping[str, str] = field(default_factory=dict)
    # Columns that `--carry all` leaves out: the paths hold them, and no file does.
    in_paths: tuple[str, ...] = ()


def run_columns(files: Sequence[FileColumns], paths: Sequence[str], settings: ColumnSettings) -> RunColumns:
    """The columns of a run over these files; `paths` are the names of all of them, below the input.

    Raises SettingsError for a carried column that no file has, or that is called as one of ours.
    """
    texts = PairColumns(
        settings.premise_column,
        settings.hypothesis_column,
        with_source=settings.carry_source,
        review_below=settings.review_below,
        with_windows=settings.long_premise == "window",
        may_lack_carried=settings.carry == ALL,
    )
    fit = [file for file in files if fitness.unfit_column(file.schema, texts) is None]
    if not fit:
        return RunColumns(texts)
    pair_id, id_type, id_origin = _ids(fit, settings)
    names, in_paths = _carried_names(fit, paths, settings, pair_id)
    carried = {name: _carried_type(name, fit, may_be_lacked=texts.may_lack_carried) for name in names}
    columns = replace(
        texts,
        pair_id=pair_id,
        id_type=id_type,
        carried=tuple(pa.field(name, kind) for name, (kind, _) in carried.items()),
    )
    origins = {name: origin for name, (_, origin) in carried.items()}
    return RunColumns(columns, {**origins, **({pair_id: id_origin} if pair_id and id_origin else {})}, in_paths)


def _ids(fit: Sequence[FileColumns], settings: ColumnSettings) -> tuple[str | None, pa.DataType | None, str | None]:
    """The column of the ids, their type in the output, and the file that decides it; the first that has any does.

    Floats decide last: pandas makes them of integers where one is missing, and another file has the integers.
    """
    if settings.id_column == schema.NO_IDS:
        return None, None, None
    name = settings.id_column or schema.PAIR_ID
    there = [file for file in fit if name in file.types]
    if not there and settings.id_column is None:
        return None, None, None
    found = [(file.name, file.types[name]) for file in there if name not in file.extensions]
    for origin, kind in sorted(found, key=lambda entry: pa.types.is_floating(entry[1])):
        if (id_type := fitness.id_type(kind)) is not None:
            return name, id_type, origin
    # Without any id that could be one, strings: each file is then told apart by its own schema.
    return name, pa.string(), None


def _carried_names(
    fit: Sequence[FileColumns], paths: Sequence[str], settings: ColumnSettings, pair_id: str | None
) -> tuple[list[str], tuple[str, ...]]:
    """The columns to carry, and those of the paths that `--carry all` cannot: of all files, in the order they come."""
    there = dict.fromkeys(name for file in fit for name in file.schema.names)
    in_paths = tuple(name for name in _path_columns(paths) if name not in there)
    asked = f"--carry {','.join(settings.carry)}"
    names = list(settings.carry)
    if settings.carry == ALL:
        taken = {settings.premise_column, settings.hypothesis_column, pair_id or schema.PAIR_ID}
        names = [name for name in there if name not in taken]
    remedy = "rename it in the input, or name the columns that you want"
    if (clash := schema.same_name(names, settings.reserved_names)) is not None:
        raise SettingsError(asked, clean(f"`{clash}` is a column of ours"), remedy)
    if (alike := schema.names_alike(names)) is not None:
        found = f"`{alike[0]}` and `{alike[1]}` are one column to readers that do not look at case"
        raise SettingsError(asked, clean(found), remedy)
    missing = [name for name in names if name not in there]
    if missing and missing[0] in in_paths:
        remedy = "use --carry-source, which keeps the path of each row"
        raise SettingsError(asked, f"`{missing[0]}` is in the paths of the files and not in the files", remedy)
    if missing:
        found = f"the readable files have no `{missing[0]}`, but {', '.join(there)}"
        raise SettingsError(asked, clean(found), "name columns of the input")
    return names, in_paths if settings.carry == ALL else ()


def _carried_type(name: str, fit: Sequence[FileColumns], *, may_be_lacked: bool) -> tuple[Any, str]:
    """The type of a carried column in the run, and the file that decided it.

    One where it is an extension must not decide, unless there is no other.
    """
    there = [file for file in fit if name in file.types]
    safe = [file for file in there if name not in file.extensions] or there[:1]
    kind, origin = _united([(file.name, file.types[name]) for file in safe])
    # Null for every row of a file that lacks it, so nothing inside is required.
    return optional(kind) if may_be_lacked and len(there) < len(fit) else kind, origin


def _united(found: Sequence[tuple[str, Any]]) -> tuple[Any, str]:
    """The type that holds the values of all these files, and the last that changed it; one that cannot does not."""
    origin, kind = found[0]
    for name, other in found[1:]:
        both = united(kind, other)
        if both is not None and both is not kind:
            origin, kind = name, both
    return kind, origin


def _path_columns(paths: Sequence[str]) -> list[str]:
    """The names of Hive partitions, `year` of `year=2026/a.parquet`."""
    folders = dict.fromkeys(folder for path in paths for folder in path.split("/")[:-1])
    parts = (folder.partition("=") for folder in folders)
    return list(dict.fromkeys(name for name, equals, _ in parts if name and equals))
