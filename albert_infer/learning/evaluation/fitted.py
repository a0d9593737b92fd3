"""A copy of a checkpoint with the temperature that was fitted to it."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from typing import Final

from albert_infer import storage
from albert_infer.errors import ModelError, OutputError
from albert_infer.learning.evaluation.calibration import Fit
from albert_infer.model.calibration import CALIBRATION, TEMPERATURE, calibration_json
from albert_infer.model.checkpoint import Checkpoint
from albert_infer.model.checkpoint_files import checkpoint_folder
from albert_infer.model.known_files import WEIGHTS_INDEX
from albert_infer.preflight.gold import GoldSet
from albert_infer.storage import Folder, S3Access

# What goes along where it is there: the shards' index, which the loader reads, and what a person wants to know.
COMPANIONS: Final = (WEIGHTS_INDEX, "README.md", "LICENSE")


def refuse_taken(uri: str, access: S3Access) -> Folder:
    """The empty folder for a copy. Raises OutputError where something is in it, or without the right to write."""
    folder = storage.open_folder(uri, access)
    storage.check_writable(folder)
    storage.refuse_filled(folder, "--fit-temperature")
    return folder


def write_fitted(target: Folder, checkpoint: Checkpoint, access: S3Access, fit: Fit, gold: GoldSet) -> None:
    """Copy the files of the checkpoint, byte for byte, and put `calibration.json` beside them, last.

    Raises ModelError for a file that is no longer the one that was loaded.
    """
    source = checkpoint_folder(checkpoint.source, access)
    names = [pin.name for pin in source.objects()]
    for name in (*checkpoint.digests, *(name for name in COMPANIONS if name in names)):
        if name == CALIBRATION:
            continue
        data = source.read(name)
        if checkpoint.digests.get(name) not in (None, hashlib.sha256(data).hexdigest()):
            found = f"{name} was changed while it was evaluated"
            raise ModelError(f"copy model {checkpoint.source}", found, "run it again")
        _put(target, name, data)
    _put(target, CALIBRATION, calibration_json(fit.temperature, _facts(fit, gold)))


def _facts(fit: Fit, gold: GoldSet) -> dict[str, object]:
    """What the temperature was fitted on, and what it did."""
    told = asdict(fit)
    del told[TEMPERATURE]
    fitted_on = {
        "uri": gold.uri,
        "gold_column": gold.gold_column,
        "files": gold.pins,
        "pairs": told.pop("fitted_on"),
    }
    return {"fitted_on": fitted_on, **told}


def _put(target: Folder, name: str, data: bytes) -> None:
    if not target.put_if_absent(name, data) and target.read(name) != data:
        found = f"{name} came meanwhile"
        raise OutputError(f"--fit-temperature {target.uri}", found, "give a folder that nobody else writes")
