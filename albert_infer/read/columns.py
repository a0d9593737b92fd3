"""Decides the columns of a run and one type for each, from the settings and the footers of all files.

Knows nothing of rows. Types of several files are united if that changes no value. A file whose type cannot be united
with those of earlier files does not decide the type, and `fitness.footer_error` then returns an error for the file.
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
from albert_infer.schema import Expansion, LongPremiseRule, PairColumns

ALL = ("all",)


class ColumnSettings(Protocol):
    """The settings of input columns: those of the pairs, and those to carry. From `LabelSettings`, or of a gold set."""

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
        """Names that a carried column must not have."""
        ...


@dataclass(frozen=True)
class FileColumns:
    """The columns of one readable file, and the name of the file in messages."""

    name: str
    schema: pa.Schema

    @cached_property
    def types(self) -> Mapping[str, Any]:
        """The plain type of each column. Of columns with the same name, the first: `fitness` refuses such a file."""
        names, types = self.schema.names, self.schema.types
        return {name: plain_type(kind) for name, kind in zip(reversed(names), reversed(types), strict=True)}

    @cached_property
    def extensions(self) -> frozenset[str]:
        """The columns that are, or contain, an extension type that is not accepted."""
        return frozenset(field.name for field in self.schema if is_unknown_extension(field))


@dataclass(frozen=True)
class RunColumns:
    """The columns of a run. `origins` has the file that decided the type of a column."""

    columns: PairColumns
    origins: Mapping[str, str] = field(default_factory=dict)
    # Columns that `--carry all` leaves out, because only the paths of files have them.
    in_paths: tuple[str, ...] = ()


def run_columns(
    files: Sequence[FileColumns],
    paths: Sequence[str],
    settings: ColumnSettings,
    expansion: Expansion | None = None,
) -> RunColumns:
    """The columns of a run over these files. `paths` are the names of all files, relative to the input.

    Raises SettingsError for a carried column that no file has, or that has the name of an output column.
    """
    texts = PairColumns(
        settings.premise_column,
        settings.hypothesis_column,
        with_source=settings.carry_source,
        review_below=settings.review_below,
        with_windows=settings.long_premise == "window",
        may_lack_carried=settings.carry == ALL,
        expansion=expansion,
    )
    fit = [file for file in files if fitness.schema_error(file.schema, texts) is None]
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
    """The column of the ids, their type in the output, and the file that decides it: the first one with usable ids.

    Files with float ids decide last. pandas writes integers as floats if one is missing, and another file may have
    integers.
    """
    if settings.id_column == schema.NO_IDS:
        return None, None, None
    name = settings.id_column or schema.PAIR_ID
    with_ids = [file for file in fit if name in file.types]
    if not with_ids and settings.id_column is None:
        return None, None, None
    candidates = [(file.name, file.types[name]) for file in with_ids if name not in file.extensions]
    for origin, kind in sorted(candidates, key=lambda entry: pa.types.is_floating(entry[1])):
        if (id_type := fitness.id_type(kind)) is not None:
            return name, id_type, origin
    # No file has a usable id column. `fitness` then refuses each file by its own schema.
    return name, pa.string(), None


def _carried_names(
    fit: Sequence[FileColumns], paths: Sequence[str], settings: ColumnSettings, pair_id: str | None
) -> tuple[list[str], tuple[str, ...]]:
    """The columns to carry, in the order of all files, and the columns of paths that `--carry all` leaves out."""
    in_files = dict.fromkeys(name for file in fit for name in file.schema.names)
    in_paths = tuple(name for name in _path_columns(paths) if name not in in_files)
    asked = f"--carry {','.join(settings.carry)}"
    names = list(settings.carry)
    if settings.carry == ALL:
        of_pairs = {settings.premise_column, settings.hypothesis_column, pair_id or schema.PAIR_ID}
        names = [name for name in in_files if name not in of_pairs]
    remedy = "rename it in the input, or name the columns that you want"
    if (clash := schema.same_name(names, settings.reserved_names)) is not None:
        raise SettingsError(asked, clean(f"the output has its own column `{clash}`"), remedy)
    if (alike := schema.names_alike(names)) is not None:
        reason = f"`{alike[0]}` and `{alike[1]}` are the same column to readers that ignore case"
        raise SettingsError(asked, clean(reason), remedy)
    missing = [name for name in names if name not in in_files]
    if missing and missing[0] in in_paths:
        remedy = "use --carry-source, which keeps the path of each row"
        raise SettingsError(asked, f"`{missing[0]}` is in the paths of the files and not in the files", remedy)
    if missing:
        reason = f"the readable files have no `{missing[0]}`, but {', '.join(in_files)}"
        raise SettingsError(asked, clean(reason), "name columns of the input")
    return names, in_paths if settings.carry == ALL else ()


def _carried_type(name: str, fit: Sequence[FileColumns], *, may_be_lacked: bool) -> tuple[Any, str]:
    """The type of a carried column in the run, and the file that decided it.

    A file where the column is an extension decides only if there is no other file.
    """
    with_column = [file for file in fit if name in file.types]
    safe = [file for file in with_column if name not in file.extensions] or with_column[:1]
    kind, origin = _united([(file.name, file.types[name]) for file in safe])
    # A file without the column gives nulls, so all inner fields must be nullable.
    return optional(kind) if may_be_lacked and len(with_column) < len(fit) else kind, origin


def _united(types_by_file: Sequence[tuple[str, Any]]) -> tuple[Any, str]:
    """The type for the values of all files, and the last file that changed the type. Skips types that do not unite."""
    origin, kind = types_by_file[0]
    for name, other in types_by_file[1:]:
        both = united(kind, other)
        if both is not None and both is not kind:
            origin, kind = name, both
    return kind, origin


def _path_columns(paths: Sequence[str]) -> list[str]:
    """The names of Hive partitions: `year` in `year=2026/a.parquet`."""
    folders = dict.fromkeys(folder for path in paths for folder in path.split("/")[:-1])
    parts = (folder.partition("=") for folder in folders)
    return list(dict.fromkeys(name for name, equals, _ in parts if name and equals))
