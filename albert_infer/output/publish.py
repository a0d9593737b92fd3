"""The writes and deletes of a publication, one function for each; `publication` calls them in order.

Each may be repeated after a crash at any point. This module knows nothing about Ray.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from albert_infer.common import failpoints
from albert_infer.errors import InfrastructureError
from albert_infer.output import layout
from albert_infer.output.inspection import Snapshot, is_copied
from albert_infer.output.manifest import Manifest, Publication, PublishedFile, PublishedRun, Seal
from albert_infer.storage import Folder, each


@dataclass(frozen=True)
class Leftovers:
    """The number of objects that could not be deleted, and the reason."""

    count: int = 0
    reason: str = ""


def mark_begun(plan_id: str, snapshot: Snapshot, output: Folder, time: datetime) -> None:
    """Write the mark that keeps clean-ups from deleting objects of earlier starts.

    A start writes the mark before it lists the objects that it uses. Concurrent starts may both write the mark.
    """
    name = layout.begun_name(plan_id)
    mark = {"begun": time.isoformat()}
    output.replace(name, json.dumps(mark, indent=1).encode(), snapshot.pins.get(name))


def put_seal(seal: Seal, snapshot: Snapshot, output: Folder) -> bool:
    """Swap in the seal; False if another start of the plan has sealed since the snapshot."""
    name = layout.sealed_name(seal.plan_id)
    return output.replace(name, seal.to_json(), snapshot.pins.get(name))


def copied(seal: Seal, snapshot: Snapshot, output: Folder) -> dict[str, str]:
    """Copy every new file of the seal to its final name; return the versions of the copies by path.

    Raises ObjectMissingError or ObjectChangedError if the source of a copy is not the sealed object.
    """
    new = [entry for entry in seal.all_files if entry.path in seal.sources]

    def version(entry: PublishedFile) -> str:
        source = seal.sources[entry.path].pin
        if is_copied(snapshot, entry, source):
            return source.version
        pin = output.copy(source, entry.path)
        failpoints.reach("file_published", entry.path)
        return pin.version

    versions = each(output, new, version)
    failpoints.reach("files_published")
    return dict(zip((entry.path for entry in new), versions, strict=True))


def manifest_of(seal: Seal, versions: Mapping[str, str], snapshot: Snapshot) -> Manifest:
    """The manifest to publish after `copied`, which returns the `versions`.

    The manifest replaces every other file that readers see, also the files of a run that died while it published.
    """
    own = {entry.path for entry in seal.all_files}
    published = snapshot.published.files.keys() if snapshot.published else set()
    return seal.published(versions, tuple(sorted((published | snapshot.unnamed.keys()) - own)))


def put_success(manifest: Manifest, snapshot: Snapshot, output: Folder) -> bool:
    """Swap in `_SUCCESS`; False if something else was published since the snapshot."""
    return output.replace(layout.SUCCESS, manifest.to_json(), snapshot.published.pin if snapshot.published else None)


def advanced(published: PublishedRun, snapshot: Snapshot, new_id: str) -> Manifest:
    """The published manifest with a new id, and with the highest number that any file here has.

    Once this manifest is published, no seal on the base of `published` can be published, and the seal's files are dead.
    """
    number = max(final.number for final in snapshot.unnamed.values())
    publication = Publication(number=number, id=new_id, base=published.id)
    return published.manifest.model_copy(update={"publication": publication})


def needless(published: PublishedRun, snapshot: Snapshot) -> list[str]:
    """The objects that nobody needs after the publication: dead files, and the staged objects of published units."""
    units = {*published.units, *published.quarantined}
    matches = (layout.STAGED.fullmatch(name) for name in snapshot.pins)
    return sorted(match[0] for match in matches if match and match["unit"] in units) + snapshot.dead


def deleted(names: Sequence[str], output: Folder) -> Leftovers:
    """Delete the objects; return those that could not be deleted.

    A failed delete is no error: the run is published, and the next start or clean-up deletes the objects.
    """
    if not names:
        return Leftovers()
    failpoints.reach("deleting")
    try:
        output.delete(names)
    except InfrastructureError as error:
        return Leftovers(len(names), f"{error.problem}; {error.remedy}")
    return Leftovers()
