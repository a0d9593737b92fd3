"""What a run says that it holds: the manifest in `_SUCCESS`, and the seal that comes before it.

Both are JSON from outside to whoever reads them: they are validated whole, and whatever does not fit is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Final, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from albert_infer.common.printable import printable
from albert_infer.errors import IntegrityError, ObjectMissingError
from albert_infer.output import layout
from albert_infer.output.commit import UnitSummary
from albert_infer.storage import Folder, ObjectPin

MANIFEST_FORMAT: Final = 1
NEWER: Final = "use the version of albert-infer that wrote it, or a newer one"

Count = Annotated[int, Field(ge=0)]


class _Said(BaseModel):
    """As JSON has it, without conversions. A key that is not known here would be lost where it is written anew."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


def _final(path: str) -> str:
    if layout.parsed_final(path) is None:
        raise ValueError("not a name that a run gives to its files")
    return path


class PublishedFile(_Said):
    """One file of labels or of rejected rows.

    `version` is that of its pin when it was published; None in manifests of version 1, which do not say. `summary` is
    there for a file of labels.
    """

    path: Annotated[str, AfterValidator(_final)]
    unit_id: str
    rows: Count
    bytes: Count
    sha256: str
    version: str | None = None
    summary: UnitSummary | None = None


class QuarantinedFile(_Said):
    """An input file that could not be read; `rows` is None where its footer could not be read either."""

    uri: str
    size: Count
    version: str
    reason: str
    detail: str
    rows: Count | None


class QuarantinedUnit(_Said):
    """A unit that could not be read or labelled."""

    unit_id: str
    reason: str
    detail: str | None
    uri: str
    first_row: Count
    rows: Count


class Quarantined(_Said):
    """All that could not be read; `rows_known` are the rows of readable footers among it."""

    files: tuple[QuarantinedFile, ...] = ()
    units: tuple[QuarantinedUnit, ...] = ()
    rows_known: Count = 0


class InputFile(_Said):
    """An input file as it was planned."""

    name: str
    size: Count
    version: str
    rows: Count


class Publication(_Said):
    """The place of a manifest among all that were ever published at an output.

    `number` is one more than that of the manifest it replaced, whose `id` is `base` (None: there was none).
    Manifests of version 1 have the number 0.
    """

    number: Count = 0
    id: str = ""
    base: str | None = None


class Manifest(_Said):
    """`_SUCCESS`: the counts of a complete run and the files that hold it, in the order of the input."""

    format: Literal[1]
    plan_id: Annotated[str, Field(min_length=1)]
    publication: Publication = Publication()
    rows_in: Count
    labelled: Count
    rejected: dict[str, Count]
    labels: dict[str, Count]
    tokens: Count
    truncated: Count
    # Manifests of earlier versions do not have these.
    null_ids: Count = 0
    duplicate_ids: Count = 0
    needs_review: Count = 0
    windowed: Count = 0
    quarantined: Quarantined
    files: tuple[PublishedFile, ...]
    rejected_files: tuple[PublishedFile, ...]
    replaces: tuple[str, ...]
    inputs: tuple[InputFile, ...]
    # As the plan has it: nothing here depends on what it says.
    model: Mapping[str, object]

    @property
    def all_files(self) -> tuple[PublishedFile, ...]:
        """Every file that readers are told of."""
        return self.files + self.rejected_files

    @property
    def rejected_rows(self) -> int:
        """Rows without a label, whatever the reason."""
        return sum(self.rejected.values())

    def to_json(self) -> bytes:
        """The bytes as they are stored."""
        return self.model_dump_json(indent=1, exclude_none=False).encode()


class Staged(_Said):
    """The pinned object that a file of a sealed run is copied from."""

    name: str
    size: Count
    version: str

    @property
    def pin(self) -> ObjectPin:
        """The same, for the storage."""
        return ObjectPin(self.name, self.size, self.version)


class Seal(Manifest):
    """`sealed.json`: a manifest that is not published yet, and what each of its new files is copied from.

    Files without a source are those that the manifest with the id `publication.base` names: they stay as they are.
    Seals of version 1 have no sources, and are made again.
    """

    sources: dict[str, Staged] = Field(default_factory=dict)

    def published(self, versions: Mapping[str, str], replaces: tuple[str, ...]) -> Manifest:
        """The manifest to publish, with the versions of the new files, by path."""

        def with_versions(files: tuple[PublishedFile, ...]) -> tuple[PublishedFile, ...]:
            return tuple(
                entry.model_copy(update={"version": versions.get(entry.path, entry.version)}) for entry in files
            )

        fields = {name: getattr(self, name) for name in Manifest.model_fields}
        fields |= {"files": with_versions(self.files), "rejected_files": with_versions(self.rejected_files)}
        return Manifest.model_construct(**{**fields, "replaces": replaces})


@dataclass(frozen=True)
class Standing:
    """What is published at an output at one moment, and the pin to compare with when it is replaced."""

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
        """What tells this publication from all others at the output; of version 1 its version in the store."""
        return self.manifest.publication.id or f"version-{self.pin.version}"

    @cached_property
    def files(self) -> dict[str, PublishedFile]:
        """Every file that readers are told of, by its name below the output."""
        return {entry.path: entry for entry in self.manifest.all_files}

    @cached_property
    def units(self) -> dict[str, list[PublishedFile]]:
        """The files of each labelled unit: its labels, then its rejected rows if it has any."""
        units: dict[str, list[PublishedFile]] = {}
        for entry in self.manifest.all_files:
            units.setdefault(entry.unit_id, []).append(entry)
        return units

    @cached_property
    def quarantined(self) -> dict[str, QuarantinedUnit]:
        """Units that were published as unreadable, by id."""
        return {entry.unit_id: entry for entry in self.manifest.quarantined.units}


Said = TypeVar("Said", Manifest, Seal)


def published_at(output: Folder) -> Standing | None:
    """What is published at `output`, None if nothing is. Raises IntegrityError for a `_SUCCESS` that is not ours."""
    try:
        pin, data = output.pinned_read(layout.SUCCESS)
    except ObjectMissingError:
        return None
    return Standing(parsed(data, Manifest, output.uri_of(layout.SUCCESS)), pin)


def parsed(data: bytes, kind: type[Said], uri: str) -> Said:
    """The manifest or seal in these bytes. Raises IntegrityError if it is not one of ours, or of a newer version."""
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        raise _refused(f"read {uri}", error.errors(include_url=False, include_context=False)) from error


def _refused(asked: str, faults: Sequence[ErrorDetails]) -> IntegrityError:
    """Why a manifest is refused: by its format; else because it is none; else by a key of a newer version."""
    by_place = {".".join(map(str, fault["loc"])): fault for fault in faults}
    told = by_place.get("format")
    if told is not None and isinstance(told["input"], int) and told["input"] > MANIFEST_FORMAT:
        return IntegrityError(asked, f"it has format {told['input']}, and this version reads {MANIFEST_FORMAT}", NEWER)
    for where, fault in by_place.items():
        if fault["type"] != "extra_forbidden":
            why = f" ({where}: {fault['msg']})" if where else ""
            return IntegrityError(asked, f"it is not a manifest of ours{why}", "give another --output, or move it away")
    unknown = next(iter(by_place))
    return IntegrityError(asked, f"it has a key that this version does not know, {printable(unknown)}", NEWER)
