"""The writes and deletes of a publication, one function each; `publication` says in which order.

Each may be repeated after a crash at any point. Knows nothing of Ray.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from albert_infer.common import failpoints
from albert_infer.errors import InfrastructureError
from albert_infer.output import layout
from albert_infer.output.manifest import Manifest, Publication, PublishedFile, Seal, Standing
from albert_infer.output.standing import Seen, is_copied
from albert_infer.storage import Folder, each


@dataclass(frozen=True)
class Leftovers:
    """Objects that nobody needs and that are still there, or may be: how many, and what stood in the way."""

    count: int = 0
    reason: str = ""


def mark_begun(plan_id: str, seen: Seen, output: Folder, now: datetime) -> None:
    """Write that a start has begun that counts on objects of earlier starts, so that no clean-up takes them.

    Comes before the listing that the start decides by. Concurrent starts may both write it.
    """
    name = layout.begun_name(plan_id)
    begun = {"begun": now.isoformat()}
    output.replace(name, json.dumps(begun, indent=1).encode(), seen.pins.get(name))


def seal_put(seal: Seal, seen: Seen, output: Folder) -> bool:
    """Write the seal in place of the one that was seen; False if another start of the plan has sealed since."""
    name = layout.sealed_name(seal.plan_id)
    return output.replace(name, seal.to_json(), seen.pins.get(name))


def copied(seal: Seal, seen: Seen, output: Folder) -> dict[str, str]:
    """Give every new file of the seal its final name; the versions that they have there, by path.

    Raises ObjectMissingError or ObjectChangedError if the object that a file is copied from is not the sealed one.
    """
    new = [entry for entry in seal.all_files if entry.path in seal.sources]

    def version(entry: PublishedFile) -> str:
        source = seal.sources[entry.path].pin
        if is_copied(seen, entry, source):
            return source.version
        pin = output.copy(source, entry.path)
        failpoints.reach("file_published", entry.path)
        return pin.version

    versions = each(output, new, version)
    failpoints.reach("files_published")
    return {entry.path: found for entry, found in zip(new, versions, strict=True)}


def manifest_of(seal: Seal, versions: Mapping[str, str], seen: Seen) -> Manifest:
    """What is published once the files of the seal are copied; `versions` as `copied` gives them.

    It replaces every other file that readers see, also those of a run that died while it published.
    """
    ours = {entry.path for entry in seal.all_files}
    before = seen.now.files.keys() if seen.now else set()
    return seal.published(versions, tuple(sorted((before | seen.unnamed.keys()) - ours)))


def success_put(manifest: Manifest, seen: Seen, output: Folder) -> bool:
    """Write `_SUCCESS` in place of the one that was seen; False if something else was published since."""
    return output.replace(layout.SUCCESS, manifest.to_json(), seen.now.pin if seen.now else None)


def advanced(now: Standing, seen: Seen, new_id: str) -> Manifest:
    """What is published, as a publication of its own whose number is as high as any that a file here has.

    Once it stands, no seal on the base of `now` can be published any more, and its files are dead.
    """
    number = max(final.number for final in seen.unnamed.values())
    publication = Publication(number=number, id=new_id, base=now.id)
    return now.manifest.model_copy(update={"publication": publication})


def needless(now: Standing, seen: Seen) -> list[str]:
    """What nobody needs once `now` is published: dead files, and the staged objects of its units."""
    units = {*now.units, *now.quarantined}
    staged = (layout.STAGED.fullmatch(name) for name in seen.pins)
    return sorted(found[0] for found in staged if found and found["unit"] in units) + seen.dead


def deleted(names: Sequence[str], output: Folder) -> Leftovers:
    """Delete the objects; returns those that stay: they are harmless, and the next start or clean-up deletes them.

    Whatever the store answers, what is published stands: no reason to end in an error.
    """
    if not names:
        return Leftovers()
    failpoints.reach("deleting")
    try:
        output.delete(names)
    except InfrastructureError as error:
        return Leftovers(len(names), f"{error.problem}; {error.remedy}")
    return Leftovers()
