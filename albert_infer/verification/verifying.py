"""Recounts a published run: checks the claims, recounts every file, and compares the rows with the input."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Final

from albert_infer import storage
from albert_infer.common.printable import PrintableText, how_many, text_of
from albert_infer.common.tables import fact_lines
from albert_infer.config import VerifySettings
from albert_infer.errors import IntegrityError, ObjectChangedError, OutputError
from albert_infer.storage import Folder, InputObjects, ObjectPin, S3Access
from albert_infer.verification import agreement, claims
from albert_infer.verification.claims import SUCCESS, Manifest, Pin, Plan, PlannedFile, PlannedUnit
from albert_infer.verification.columns import OutputColumns
from albert_infer.verification.comparison import changed_input, compare_pairs, compare_unit, input_rows
from albert_infer.verification.counting import Recount
from albert_infer.verification.findings import Finding, differences
from albert_infer.verification.input_files import is_input
from albert_infer.verification.recount import UnitFiles, recount_unit

# Threads wait for the store. Each holds one unit's files and some megabytes of input.
FILE_THREADS: Final = 4
# The report lists at most this number of findings, and counts the others.
FINDINGS_SHOWN: Final = 50


@dataclass(frozen=True)
class Verification:
    """The counts of a published run, and all its faults."""

    output_uri: str
    counted: Recount
    findings: tuple[Finding, ...]
    # None if they could not be read.
    manifest: Manifest | None = None
    plan: Plan | None = None
    input_uri: str | None = None

    def to_text(self, *, width: int | None = None) -> PrintableText:
        """The report for a person: findings first, then the counts. It fits a terminal of `width` columns."""
        findings = [str(finding) for finding in self.findings[:FINDINGS_SHOWN]]
        if len(self.findings) > FINDINGS_SHOWN:
            findings.append(f"and {len(self.findings) - FINDINGS_SHOWN:,} more")
        lines = [line for finding in findings for line in fact_lines({"finding": finding}, width=width)]
        return text_of([*lines, *fact_lines(self._counts(), width=width)])

    def refuse_findings(self) -> None:
        """Raises IntegrityError if there are findings."""
        if self.findings:
            problem = f"{how_many(len(self.findings), 'finding')}, first {self.findings[0]}"
            remedy = "look at each finding before you use these labels"
            raise IntegrityError(f"verify {self.output_uri}", problem, remedy)

    def _counts(self) -> dict[str, str]:
        if self.manifest is None or self.plan is None:
            return {"recounted": f"no file of {self.output_uri}: {SUCCESS} or the plan cannot be used"}
        counted, quarantined = self.counted, self.manifest.quarantined
        rejected = ", ".join(f"{reason} {rows:,}" for reason, rows in sorted(counted.rejected.items())) or "none"
        comparison = "not given: the texts and the order of the rows were not compared"
        if self.input_uri is not None:
            comparison = f"{how_many(counted.compared, 'row')} equal those of {self.input_uri}, in the same order"
            if self.findings:
                comparison = f"{how_many(counted.compared, 'row')} compared with those of {self.input_uri}"
        unread = "none"
        if quarantined.files or quarantined.units:
            unread = f"{how_many(len(quarantined.files), 'file')} and {how_many(len(quarantined.units), 'unit')}, "
            unread += f"with at least {how_many(quarantined.rows_known, 'row')}"
        planned = how_many(self.plan.rows_in, "row")
        return {
            "recounted": f"{planned} planned, in {self.output_uri}; plan {self.plan.plan_id}",
            "labelled": f"{how_many(counted.labelled, 'row')} in {how_many(len(self.manifest.files), 'file')}",
            **self._pairs(self.manifest, self.plan),
            "rejected": rejected,
            "quarantined": unread,
            "units": f"{len(self.plan.units):,}, from {how_many(len(self.plan.files), 'input file')}",
            "bytes": f"{counted.bytes:,} read and compared with their sha256",
            "input": comparison,
        }

    def _pairs(self, manifest: Manifest, plan: Plan) -> dict[str, str]:
        expansion = plan.recipe.expansion
        if expansion is None:
            return {}
        files = manifest.files if expansion.publish == "pairs" else manifest.pair_files
        where = ", which are not published" if expansion.publish == "scores" else f" in {how_many(len(files), 'file')}"
        return {"pairs": f"{self.counted.pairs:,}{where}"}


@dataclass(frozen=True)
class _Published:
    """A published run, and the input to compare with."""

    output: Folder
    objects: dict[str, ObjectPin]
    plan: Plan
    # The files of each labelled unit in the manifest.
    files: dict[str, UnitFiles]
    columns: OutputColumns
    # The planned units of each input file, in order.
    units: dict[Pin, list[PlannedUnit]]
    source: Folder | None


def verify_labels(settings: VerifySettings) -> Verification:
    """Recount the run at `settings.output`, and compare it with `settings.input` if that is given.

    The result has all faults of the run. Raises OutputError if nothing is published, InputError and SettingsError for
    an invalid input, InfrastructureError if a store cannot be reached, ObjectChangedError if another run was published
    meanwhile.
    """
    output = storage.open_folder(settings.output, S3Access(settings.s3_endpoint))
    with storage.refused(OutputError):
        success = output.stat(SUCCESS)
    if success is None:
        remedy = "give the --output of a run that is published"
        raise OutputError(f"verify {output.uri}", f"nothing is published there: it has no {SUCCESS}", remedy)
    input_objects = None
    if settings.input is not None:
        input_objects = storage.resolve_input(settings.input, S3Access(settings.s3_endpoint))
    verification = _verified(output, input_objects)
    if output.stat(SUCCESS) != success:
        raise ObjectChangedError(f"verify {output.uri}", "another run was published there meanwhile", "run it again")
    return verification


def _verified(output: Folder, input_objects: InputObjects | None) -> Verification:
    manifest = claims.read_claim(output, SUCCESS, Manifest)
    if isinstance(manifest, list):
        return Verification(output.uri, Recount(), tuple(manifest))
    plan = claims.read_claim(output, claims.plan_name(manifest.plan_id), Plan)
    if isinstance(plan, list):
        return Verification(output.uri, Recount(), tuple(plan))
    objects = {pin.name: pin for pin in output.objects()}
    findings = list(_foreign_files(manifest, objects))
    findings += agreement.plan_faults(plan)
    findings += agreement.manifest_faults(manifest, plan)
    units: dict[Pin, list[PlannedUnit]] = {}
    for unit in plan.units:
        units.setdefault(unit.pin, []).append(unit)
    files = _files_of_units(manifest)
    source = input_objects.folder if input_objects else None
    run = _Published(output, objects, plan, files, OutputColumns.of(plan), units, source)
    counted = Recount()
    with ThreadPoolExecutor(FILE_THREADS) as threads:
        for recount in threads.map(lambda file: _verified_file(run, file), plan.files):
            counted.add(recount)
    findings += counted.findings
    findings += _unlike_totals(manifest, counted)
    if input_objects:
        findings += _unplanned_input(plan, input_objects)
    input_uri = input_objects.uri if input_objects else None
    return Verification(output.uri, counted, tuple(findings), manifest, plan, input_uri)


def _files_of_units(manifest: Manifest) -> dict[str, UnitFiles]:
    rejected, pairs = (
        {entry.unit_id: entry for entry in each} for each in (manifest.rejected_files, manifest.pair_files)
    )
    return {
        entry.unit_id: UnitFiles(entry, rejected.get(entry.unit_id), pairs.get(entry.unit_id))
        for entry in manifest.files
    }


def _foreign_files(manifest: Manifest, objects: dict[str, ObjectPin]) -> Iterator[Finding]:
    """A finding for each file that readers of the folder see and the manifest does not name."""
    named = {entry.path for entry in (*manifest.files, *manifest.rejected_files, *manifest.pair_files)}
    for name in sorted(objects.keys() - named):
        below = name.removeprefix("_rejected/").removeprefix("_pairs/")
        if any(part.startswith(("_", ".")) for part in below.split("/")):
            continue
        if name in manifest.replaces:
            # A reader of the folder would count the rows of this file a second time.
            expected = "no file of the run that was replaced: run the job again with the right to delete, or delete it"
            yield Finding(name, expected, f"a file of {objects[name].size} bytes")
        else:
            yield Finding(name, f"only files that {SUCCESS} names", f"a file of {objects[name].size} bytes")


def _verified_file(run: _Published, file: PlannedFile) -> Recount:
    """Recount the units of one input file, in order, and compare them with the file if there is an input."""
    total, columns = Recount(), run.columns
    source, uri = run.source, run.plan.source_uri(file.pin.name)
    with input_rows(source, file, columns, total.findings) if source else nullcontext() as rows:
        for unit in run.units.get(file.pin, []):
            if unit.unit_id not in run.files:
                continue
            named = run.files[unit.unit_id]
            recount, opened = recount_unit(run.output, run.objects, unit, uri, named, columns)
            total.add(recount)
            if opened:
                total.findings += compare_pairs(opened, named.labels.path, columns)
            if source and rows and opened:
                total.findings += compare_unit(rows, source.uri_of(file.pin.name), opened)
                total.compared += unit.range.rows
    return total


def _unlike_totals(manifest: Manifest, counted: Recount) -> Iterator[Finding]:
    """A finding for each total of the manifest that differs from the counts."""
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
            ("pairs", manifest.pairs, counted.pairs),
        ],
    )
    first, *others = counted.schemas.values() or [""]
    for path in others:
        yield Finding(path, f"the columns and types of {first}", "others")


def _unplanned_input(plan: Plan, input_objects: InputObjects) -> Iterator[Finding]:
    """A finding for each input file outside the run: changed quarantined files, files left out, later files."""
    # The text before a name in a URI.
    below = plan.source_uri("-").removesuffix("-")
    bad = {file.uri.removeprefix(below): file for file in plan.bad}
    for name, file in bad.items():
        pin = input_objects.folder.stat(name)
        if pin is None or (pin.size, pin.version) != (file.size, file.version):
            state = "nothing" if pin is None else f"{pin.size} bytes, version {pin.version}"
            yield changed_input(input_objects.folder.uri_of(name), file, state)
    known = {file.pin.name for file in plan.files} | bad.keys()
    for pin in input_objects.pins:
        if pin.name not in known and is_input(input_objects, pin):
            where = f"input {input_objects.folder.uri_of(pin.name)}"
            yield Finding(where, "a file of the plan", "a file without rows in the run: it came later or was left out")
