"""An independent recount of a published run, from its files alone.

Shares no code with the steps that published, because it has to find their errors: it has its own reading of `_SUCCESS`,
of the plan, of every file and of what is input. It shares names, closed lists and the access to storage, one by one in
`tests/test_layering.py`. What it cannot see: whether a label is right, which takes the model, and,
unless it is given the input, whether the rows are those of the input and in their order.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Final

from albert_infer import storage
from albert_infer.common.printable import PrintableText, how_many, text_of
from albert_infer.config import VerifySettings
from albert_infer.errors import IntegrityError, ObjectChangedError, OutputError
from albert_infer.storage import Folder, InputObjects, ObjectPin, S3Access
from albert_infer.verification import agreement, claims
from albert_infer.verification.claims import SUCCESS, Manifest, NamedFile, Pin, Plan, PlannedFile, PlannedUnit
from albert_infer.verification.columns import OutputColumns
from albert_infer.verification.comparison import changed_input, compare_unit, input_rows
from albert_infer.verification.findings import Finding, differences
from albert_infer.verification.input_files import is_input
from albert_infer.verification.recount import Recount, recount_unit

# Opening a file is a wait on the store; each thread holds one unit's files and some megabytes of input.
FILE_THREADS: Final = 4
# More is no help to a person; the rest is counted.
FINDINGS_TOLD: Final = 50


@dataclass(frozen=True)
class Verification:
    """What was recounted, and everything that is not as it must be."""

    output_uri: str
    counted: Recount
    findings: tuple[Finding, ...]
    # None where they could not be read.
    manifest: Manifest | None = None
    plan: Plan | None = None
    input_uri: str | None = None

    def to_text(self) -> PrintableText:
        """A few lines for a person: the findings first, then what was looked at."""
        told = [f"finding      {finding}" for finding in self.findings[:FINDINGS_TOLD]]
        if len(self.findings) > FINDINGS_TOLD:
            told.append(f"finding      and {len(self.findings) - FINDINGS_TOLD:,} more")
        return text_of([*told, *(f"{name:<12} {text}" for name, text in self._counts().items())])

    def refuse_findings(self) -> None:
        """Raises IntegrityError if anything was found."""
        if self.findings:
            found = f"{how_many(len(self.findings), 'finding')}, first {self.findings[0]}"
            remedy = "look at each finding; do not use these labels before"
            raise IntegrityError(f"verify {self.output_uri}", found, remedy)

    def _counts(self) -> dict[str, str]:
        if self.manifest is None or self.plan is None:
            return {"recounted": f"nothing more of {self.output_uri}: {SUCCESS} or the plan cannot be used"}
        counted, quarantined = self.counted, self.manifest.quarantined
        rejected = ", ".join(f"{reason} {rows:,}" for reason, rows in sorted(counted.rejected.items())) or "none"
        against = "not given: neither the texts nor the order of the rows were compared"
        if self.input_uri is not None:
            against = f"{how_many(counted.compared, 'row')} as in {self.input_uri}, in its order"
            if self.findings:
                against = f"{how_many(counted.compared, 'row')} compared with those of {self.input_uri}"
        planned = how_many(self.plan.rows_in, "row")
        return {
            "recounted": f"{planned} planned, in {self.output_uri}; plan {self.plan.plan_id}",
            "labelled": f"{how_many(counted.labelled, 'row')} in {how_many(len(self.manifest.files), 'file')}",
            "rejected": rejected,
            "quarantined": f"{how_many(len(quarantined.files), 'file')}, {how_many(len(quarantined.units), 'unit')}, "
            f"{how_many(quarantined.rows_known, 'row')} known",
            "units": f"{len(self.plan.units):,} of {how_many(len(self.plan.files), 'input file')}",
            "bytes": f"{counted.bytes:,} read and held against their sha256",
            "input": against,
        }


@dataclass(frozen=True)
class _Published:
    """A published run, and the input to hold it against."""

    output: Folder
    there: dict[str, ObjectPin]
    plan: Plan
    # What the manifest names of each labelled unit: its labels, and its rejected rows if it has any.
    files: dict[str, tuple[NamedFile, NamedFile | None]]
    columns: OutputColumns
    # The planned units of each input file, in their order.
    units: dict[Pin, list[PlannedUnit]]
    source: Folder | None


def verify_labels(settings: VerifySettings) -> Verification:
    """Recount what is published at `settings.output`, and compare it with `settings.input` if that is given.

    Whatever is wrong is in the result. Raises OutputError if nothing is published, InputError and SettingsError for
    what cannot be an input, InfrastructureError for what cannot be reached, ObjectChangedError if another run was
    published meanwhile.
    """
    output = storage.open_folder(settings.output, S3Access(settings.s3_endpoint))
    with storage.refused(OutputError):
        success = output.stat(SUCCESS)
    if success is None:
        remedy = "give the --output of a run that is published"
        raise OutputError(f"verify {output.uri}", f"nothing is published there: it has no {SUCCESS}", remedy)
    found = None
    if settings.input is not None:
        found = storage.resolve_input(settings.input, S3Access(settings.s3_endpoint))
    verification = _verified(output, found)
    if output.stat(SUCCESS) != success:
        raise ObjectChangedError(f"verify {output.uri}", "it was published anew meanwhile", "run it again")
    return verification


def _verified(output: Folder, found: InputObjects | None) -> Verification:
    manifest = claims.read_claim(output, SUCCESS, Manifest)
    if isinstance(manifest, list):
        return Verification(output.uri, Recount(), tuple(manifest))
    plan = claims.read_claim(output, claims.plan_name(manifest.plan_id), Plan)
    if isinstance(plan, list):
        return Verification(output.uri, Recount(), tuple(plan))
    there = {pin.name: pin for pin in output.objects()}
    findings = list(_foreign_files(manifest, there))
    findings += agreement.plan_faults(plan)
    findings += agreement.manifest_faults(manifest, plan)
    units: dict[Pin, list[PlannedUnit]] = {}
    for unit in plan.units:
        units.setdefault(unit.pin, []).append(unit)
    rejected = {entry.unit_id: entry for entry in manifest.rejected_files}
    files = {entry.unit_id: (entry, rejected.get(entry.unit_id)) for entry in manifest.files}
    source = found.folder if found else None
    run = _Published(output, there, plan, files, OutputColumns.of(plan), units, source)
    counted = Recount()
    with ThreadPoolExecutor(FILE_THREADS) as threads:
        for recount in threads.map(lambda file: _verified_file(run, file), plan.files):
            counted.add(recount)
    findings += counted.findings
    findings += _unlike_totals(manifest, counted)
    if found:
        findings += _unplanned_input(plan, found)
    return Verification(output.uri, counted, tuple(findings), manifest, plan, found.uri if found else None)


def _foreign_files(manifest: Manifest, there: dict[str, ObjectPin]) -> Iterator[Finding]:
    """The files that readers of the folder see beside those that the manifest names."""
    named = {entry.path for entry in (*manifest.files, *manifest.rejected_files)}
    for name in sorted(there.keys() - named):
        if any(part.startswith(("_", ".")) for part in name.removeprefix("_rejected/").split("/")):
            continue
        if name in manifest.replaces:
            # A finding as well: who reads the folder rather than the manifest counts its rows a second time.
            expected = "no file of the run that was replaced: run the job again with the right to delete, or delete it"
            yield Finding(name, expected, f"it is still there, {there[name].size} bytes")
        else:
            yield Finding(name, f"no file beside those that {SUCCESS} names", f"{there[name].size} bytes")


def _verified_file(run: _Published, file: PlannedFile) -> Recount:
    """Recount the units of one input file, in their order, and compare them with the file if it is given."""
    total, columns = Recount(), run.columns
    source, uri = run.source, run.plan.source_uri(file.pin.name)
    with input_rows(source, file, columns, total.findings) if source else nullcontext() as rows:
        for unit in run.units.get(file.pin, []):
            if unit.unit_id not in run.files:
                continue
            named = run.files[unit.unit_id]
            recount, opened = recount_unit(run.output, run.there, unit, uri, named, columns)
            total.add(recount)
            if source and rows and opened:
                total.findings += compare_unit(rows, source.uri_of(file.pin.name), opened)
                total.compared += unit.range.rows
    return total


def _unlike_totals(manifest: Manifest, counted: Recount) -> Iterator[Finding]:
    """How the totals of the manifest differ from what was counted."""
    yield from differences(
        f"the total of the files that {SUCCESS} names",
        [
            ("labelled", manifest.labelled, counted.labelled),
            ("rejected", manifest.rejected, dict(counted.rejected)),
            ("labels", manifest.labels, dict(counted.labels)),
            ("tokens", manifest.tokens, counted.tokens),
            ("truncated", manifest.truncated, counted.truncated),
            ("needs_review", manifest.needs_review, counted.needs_review),
            ("windowed", manifest.windowed, counted.windowed),
        ],
    )
    first, *others = counted.schemas.values() or [""]
    for path in others:
        yield Finding(path, f"the columns and types of {first}", "others")


def _unplanned_input(plan: Plan, found: InputObjects) -> Iterator[Finding]:
    """Input that the run does not account for: quarantined files that changed, files left out or that came later."""
    # What `uri_of` puts before a name.
    below = plan.source_uri("-").removesuffix("-")
    bad = {file.uri.removeprefix(below): file for file in plan.bad}
    for name, file in bad.items():
        now = found.folder.stat(name)
        if now is None or (now.size, now.version) != (file.size, file.version):
            state = "nothing" if now is None else f"{now.size} bytes, version {now.version}"
            yield changed_input(found.folder.uri_of(name), file, state)
    known = {file.pin.name for file in plan.files} | bad.keys()
    for pin in found.pins:
        if pin.name not in known and is_input(found, pin):
            where = f"input {found.folder.uri_of(pin.name)}"
            yield Finding(where, "a file of the plan", "one that the run has no row of: it came later or was left out")
