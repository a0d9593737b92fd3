"""The manifest of a run in `_SUCCESS`, and the seal from which it is made.

Both are untrusted JSON when they are read: the whole document is validated, and anything unknown is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Final, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from albert_infer.common.printable import printable
from albert_infer.errors import IntegrityError, ObjectMissingError
from albert_infer.output import layout
from albert_infer.output.commit import UnitSummary
from albert_infer.schema import LABEL_SETS, THREE_LABELS, LabelSet
from albert_infer.storage import Folder, ObjectPin

MANIFEST_FORMAT: Final = 1
NEWER: Final = "use the version of albert-infer that wrote it, or a newer one"

Count = Annotated[int, Field(ge=0)]


class _Document(BaseModel):
    """Validates JSON without conversions. Unknown keys are refused, because a rewrite would lose them."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


def _final(path: str) -> str:
    if layout.parsed_final(path) is None:
        raise ValueError("not a name that a run gives to its files")
    return path


class PublishedFile(_Document):
    """One file of labels, of rejected rows or of pairs.

    `version` is the version of the published object; None in manifests of version 1. Only files of labels have a
    `summary`.
    """

    path: Annotated[str, AfterValidator(_final)]
    unit_id: str
    rows: Count
    bytes: Count
    sha256: str
    version: str | None = None
    summary: UnitSummary | None = None


class QuarantinedFile(_Document):
    """An input file that could not be read; `rows` is None if its footer could not be read."""

    uri: str
    size: Count
    version: str
    reason: str
    detail: str
    rows: Count | None


class QuarantinedUnit(_Document):
    """A unit that could not be read or labelled."""

    unit_id: str
    reason: str
    detail: str | None
    uri: str
    first_row: Count
    rows: Count


class Quarantined(_Document):
    """All unreadable files and units; `rows_known` is the number of their rows, as far as footers are readable."""

    files: tuple[QuarantinedFile, ...] = ()
    units: tuple[QuarantinedUnit, ...] = ()
    rows_known: Count = 0


class InputFile(_Document):
    """An input file, pinned by the plan."""

    name: str
    size: Count
    version: str
    rows: Count


class Publication(_Document):
    """The position of a manifest in the history of an output.

    `number` is one more than the number of the replaced manifest. `base` is the `id` of the replaced manifest, or None.
    Manifests of version 1 have the number 0.
    """

    number: Count = 0
    id: str = ""
    base: str | None = None


class Manifest(_Document):
    """`_SUCCESS`: the counts of a complete run and its files, in the order of the input."""

    format: Literal[1]
    plan_id: Annotated[str, Field(min_length=1)]
    publication: Publication = Publication()
    rows_in: Count
    labelled: Count
    rejected: dict[str, Count]
    labels: dict[str, Count]
    tokens: Count
    truncated: Count
    # Manifests of earlier versions lack these counts.
    null_ids: Count = 0
    duplicate_ids: Count = 0
    needs_review: Count = 0
    windowed: Count = 0
    # Pairs of labelled rows; 0 if each row is one pair.
    pairs: Count = 0
    quarantined: Quarantined
    files: tuple[PublishedFile, ...]
    rejected_files: tuple[PublishedFile, ...]
    # Only in runs that publish pairs and scores.
    pair_files: tuple[PublishedFile, ...] = ()
    replaces: tuple[str, ...]
    inputs: tuple[InputFile, ...]
    # Copied from the plan.
    model: Mapping[str, object]

    @property
    def label_set(self) -> LabelSet:
        """The labels of the run's checkpoint, in the order of the probability columns."""
        order = self.model.get("label_map")
        return LABEL_SETS.get(len(order), THREE_LABELS) if isinstance(order, Sized) else THREE_LABELS

    @property
    def all_files(self) -> tuple[PublishedFile, ...]:
        """Every file that the manifest names."""
        return self.files + self.rejected_files + self.pair_files

    @property
    def rejected_rows(self) -> int:
        """Rows without a label, for any reason."""
        return sum(self.rejected.values())

    def to_json(self) -> bytes:
        """The manifest as stored bytes. Only runs whose rows become several pairs have the keys of pairs."""
        if self.pairs or self.pair_files:
            return self.model_dump_json(indent=1).encode()
        return self.model_dump_json(
            indent=1, exclude={"pairs": True, "pair_files": True, "files": {"__all__": {"summary": {"pairs"}}}}
        ).encode()


class Staged(_Document):
    """The pinned source object of a file of a sealed run."""

    name: str
    size: Count
    version: str

    @property
    def pin(self) -> ObjectPin:
        """The object's pin, for the storage."""
        return ObjectPin(self.name, self.size, self.version)


class Seal(Manifest):
    """`sealed.json`: a manifest before its publication, with the source of each new file.

    Files without a source are already published by the manifest with the id `publication.base`. Seals of version 1
    have no sources, and are made again.
    """

    sources: dict[str, Staged] = Field(default_factory=dict)

    def published(self, versions: Mapping[str, str], replaces: tuple[str, ...]) -> Manifest:
        """The manifest to publish; `versions` has the versions of the new files by path."""

        def with_versions(files: tuple[PublishedFile, ...]) -> tuple[PublishedFile, ...]:
            return tuple(
                entry.model_copy(update={"version": versions.get(entry.path, entry.version)}) for entry in files
            )

        fields = {name: getattr(self, name) for name in Manifest.model_fields}
        fields |= {name: with_versions(fields[name]) for name in ("files", "rejected_files", "pair_files")}
        return Manifest.model_construct(**{**fields, "replaces": replaces})


@dataclass(frozen=True)
class PublishedRun:
    """The published manifest of an output, and the pin of its `_SUCCESS` for the next compare-and-swap."""

    manifest: Manifest
    pin: ObjectPin

    @property
    def plan_id(self) -> str:
        """The plan that is published."""
        return self.manifest.plan_id

    @property
    def number(self) -> int:
        """The number of this publication."""
        return self.manifest.publication.number

    @property
    def id(self) -> str:
        """The unique id of this publication at the output; for version 1 made from the version in the store."""
        return self.manifest.publication.id or f"version-{self.pin.version}"

    @cached_property
    def files(self) -> dict[str, PublishedFile]:
        """Every file that the manifest names, by its name below the output."""
        return {entry.path: entry for entry in self.manifest.all_files}

    @cached_property
    def units(self) -> dict[str, list[PublishedFile]]:
        """The files of each labelled unit: the labels, then the rejected rows and the pairs if there are any."""
        units: dict[str, list[PublishedFile]] = {}
        for entry in self.manifest.all_files:
            units.setdefault(entry.unit_id, []).append(entry)
        return units

    @cached_property
    def quarantined(self) -> dict[str, QuarantinedUnit]:
        """Units that were published as unreadable, by id."""
        return {entry.unit_id: entry for entry in self.manifest.quarantined.units}


Document = TypeVar("Document", Manifest, Seal)


def published_at(output: Folder) -> PublishedRun | None:
    """Read the published run; None if nothing is published. Raises IntegrityError for a foreign `_SUCCESS`."""
    try:
        pin, data = output.pinned_read(layout.SUCCESS)
    except ObjectMissingError:
        return None
    return PublishedRun(parsed(data, Manifest, output.uri_of(layout.SUCCESS)), pin)


def parsed(data: bytes, kind: type[Document], uri: str) -> Document:
    """Parse a manifest or seal. Raises IntegrityError if the JSON is neither, or is of a newer version."""
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        raise _refused(f"read {uri}", error.errors(include_url=False, include_context=False)) from error


def _refused(asked: str, faults: Sequence[ErrorDetails]) -> IntegrityError:
    """The error for a refused manifest: a newer format, else an invalid value, else a key of a newer version."""
    by_key = {".".join(map(str, fault["loc"])): fault for fault in faults}
    format_fault = by_key.get("format")
    number = None if format_fault is None else format_fault["input"]
    if isinstance(number, int) and number > MANIFEST_FORMAT:
        return IntegrityError(asked, f"it has format {number}, and this version reads {MANIFEST_FORMAT}", NEWER)
    for where, fault in by_key.items():
        if fault["type"] != "extra_forbidden":
            why = f" ({where}: {fault['msg']})" if where else ""
            return IntegrityError(asked, f"it is not a manifest of ours{why}", "give another --output, or move it away")
    unknown = next(iter(by_key))
    return IntegrityError(asked, f"it has a key that this version does not know, {printable(unknown)}", NEWER)
