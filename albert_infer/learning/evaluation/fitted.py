"""Writes a copy of a checkpoint with a fitted temperature."""

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

# Optional files that are copied too: the index of shards for the loader, and documents for people.
COMPANIONS: Final = (WEIGHTS_INDEX, "README.md", "LICENSE")


def empty_folder(uri: str, access: S3Access) -> Folder:
    """Open the folder for a copy. Raises OutputError if it is not empty, or not writable."""
    folder = storage.open_folder(uri, access)
    storage.check_writable(folder)
    storage.refuse_filled(folder, "--fit-temperature")
    return folder


def write_fitted(target: Folder, checkpoint: Checkpoint, access: S3Access, fit: Fit, gold: GoldSet) -> None:
    """Copy the files of the checkpoint unchanged, and write `calibration.json` last.

    Raises ModelError for a file that has changed since the checkpoint was loaded.
    """
    source = checkpoint_folder(checkpoint.source, access)
    names = [pin.name for pin in source.objects()]
    for name in (*checkpoint.digests, *(name for name in COMPANIONS if name in names)):
        if name == CALIBRATION:
            continue
        data = source.read(name)
        if checkpoint.digests.get(name) not in (None, hashlib.sha256(data).hexdigest()):
            problem = f"{name} changed during the evaluation"
            raise ModelError(f"copy model {checkpoint.source}", problem, "run it again")
        _put(target, name, data)
    _put(target, CALIBRATION, calibration_json(fit.temperature, _facts(fit, gold)))


def _facts(fit: Fit, gold: GoldSet) -> dict[str, object]:
    """The data and the effect of the fit."""
    facts = asdict(fit)
    del facts[TEMPERATURE]
    fitted_on = {
        "uri": gold.uri,
        "gold_column": gold.gold_column,
        "files": gold.pins,
        "pairs": facts.pop("fitted_on"),
    }
    return {"fitted_on": fitted_on, **facts}


def _put(target: Folder, name: str, data: bytes) -> None:
    if not target.put_if_absent(name, data) and target.read(name) != data:
        problem = f"another program wrote {name}"
        raise OutputError(f"--fit-temperature {target.uri}", problem, "give a folder that no other program writes")
