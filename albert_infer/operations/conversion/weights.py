"""Finds the weights of a conversion: safetensors of the source or of the hub's own bot, else a pickle.

Only `unpickled` opens a pickle, in a process without environment variables, and without a network if the machine allows
that.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from shutil import which
from typing import Final

import safetensors.torch

from albert_infer import storage
from albert_infer.common import logs
from albert_infer.engine.tensors import tensor_headers, wrapper_of
from albert_infer.errors import ModelError
from albert_infer.model import hub, remedies
from albert_infer.model.checkpoint_files import hub_names, safetensors_in
from albert_infer.model.known_files import WEIGHTS, WEIGHTS_INDEX, json_object
from albert_infer.model.remedies import PICKLED_INDEX, PICKLED_WEIGHTS
from albert_infer.storage import Folder

SAFETENSORS: Final = (WEIGHTS, WEIGHTS_INDEX)
PICKLES: Final = (PICKLED_WEIGHTS, PICKLED_INDEX)
UNPICKLED: Final = Path(__file__).with_name("unpickled.py")
# Starts a process in a network without connections; part of util-linux.
WITHOUT_NETWORK: Final = ("unshare", "--user", "--map-root-user", "--net", "--")


@dataclass
class WeightFinder:
    """Finds the weights of `source`; `origin` describes in words where they came from."""

    source: str
    origin: str = ""

    def __call__(self, folder: Folder, files: set[str]) -> dict[str, bytes]:
        """Return the weights by file name, for a `folder` with these `files`. Raises ModelError."""
        weights = self._weights(folder, files)
        names = [name for data in weights.values() for name in _names(data)]
        if not (wrapper := wrapper_of(names)):
            return weights
        self.origin += f", without {wrapper!r} before each name"
        return {name: _unwrapped(data, wrapper) for name, data in weights.items()}

    def _weights(self, folder: Folder, files: set[str]) -> dict[str, bytes]:
        if weights := safetensors_in(folder, files, self.source):
            self.origin = f"{', '.join(weights)} of {self.source}, as they are"
            return weights
        hub_id = hub.hub_id(self.source)
        if hub_id is not None and (weights := self._offered(hub_id)):
            return weights
        names = files.union(hub_names(self.source))
        if names.isdisjoint((PICKLED_WEIGHTS, PICKLED_INDEX)):
            raise remedies.without_weights(self.source, names)
        if hub_id is not None:
            folder = storage.open_folder(hub.downloaded(hub_id, PICKLES, index=PICKLED_INDEX))
        return self._unpickled(folder)

    def _offered(self, hub_id: hub.HubId) -> dict[str, bytes]:
        """The safetensors that the hub's bot made from the same pickles, and offers in a pull request."""
        pickles = _pickles(hub.blobs(hub_id))
        for request in hub.conversions(hub_id) if pickles else ():
            blobs = hub.blobs(request.at)
            if _pickles(blobs) != pickles or not {WEIGHTS, WEIGHTS_INDEX} & blobs.keys():
                continue
            folder = storage.open_folder(hub.downloaded(request.at, SAFETENSORS, index=WEIGHTS_INDEX))
            weights = safetensors_in(folder, {pin.name for pin in folder.objects()}, str(request.at))
            self.origin = (
                f"{', '.join(weights)} of pull request {request.number} by {hub.CONVERSION_BOT}, "
                f"at commit {request.at.revision}"
            )
            return weights
        return {}

    def _unpickled(self, folder: Folder) -> dict[str, bytes]:
        with tempfile.TemporaryDirectory() as work:
            names = self._copied(folder, Path(work))
            logs.log("converting", f"converting: opening {', '.join(names)} in a separate process", {})
            ran = run_alone([sys.executable, "-I", str(UNPICKLED), WEIGHTS, *names], work)
            if ran.returncode:
                last = (ran.stderr.strip().splitlines() or [f"the process ended with {ran.returncode}"])[-1]
                problem = f"{', '.join(names)} cannot be converted: {last:.200}"
                remedy = "save it again with save_pretrained, which writes tensors by name and nothing else"
                raise ModelError(f"model {self.source}", problem, remedy)
            network = (
                "without a network" if network_can_be_closed() else "with a network, which could not be closed here"
            )
            how = f"unpickled as weights only, in a process without environment variables and {network}"
            self.origin = f"{', '.join(names)} of {self.source}, {how}"
            return {WEIGHTS: (Path(work) / WEIGHTS).read_bytes()}

    def _copied(self, folder: Folder, work: Path) -> list[str]:
        files = {pin.name for pin in folder.objects()}
        names = [PICKLED_WEIGHTS]
        if PICKLED_WEIGHTS not in files:
            index = json_object(PICKLED_INDEX, folder.read(PICKLED_INDEX), self.source).get("weight_map")
            names = sorted(set(map(str, index.values()))) if isinstance(index, dict) else []
        missing = [name for name in names if name not in files or "/" in name]
        if missing or not names:
            problem = f"{PICKLED_INDEX} names {missing[0]!r:.100}, which is missing" if missing else "it has no weights"
            raise ModelError(f"model {self.source}", problem, "complete the folder")
        for name in names:
            (work / name).write_bytes(remedies.no_pointer(folder.read(name), name, self.source))
        return names


def run_alone(program: Sequence[str], work: str) -> subprocess.CompletedProcess[str]:
    """Run the program in the folder `work`, without our environment variables, which may hold credentials.

    The program has no network either, if the machine allows that.
    """
    environment = {"PATH": "/usr/bin:/bin", "HOME": work, "TMPDIR": work, "LC_ALL": "C.UTF-8"}
    prefix = WITHOUT_NETWORK if network_can_be_closed() else ()
    return subprocess.run(  # noqa: S603  (a program of this package)
        [*prefix, *program], cwd=work, env=environment, capture_output=True, text=True, check=False
    )


@cache
def network_can_be_closed() -> bool:
    """Whether this machine lets a user start a process without a network."""
    if which(WITHOUT_NETWORK[0]) is None:
        return False
    return subprocess.run([*WITHOUT_NETWORK, "true"], capture_output=True, check=False).returncode == 0  # noqa: S603


def _names(data: bytes) -> Collection[str]:
    """The names of the tensors; [""] for a damaged file, which the verification refuses later."""
    try:
        return tensor_headers(data)
    except ValueError:
        return ("",)


def _unwrapped(data: bytes, wrapper: str) -> bytes:
    tensors = {name.removeprefix(wrapper): tensor for name, tensor in safetensors.torch.load(data).items()}
    return safetensors.torch.save(tensors, metadata={"format": "pt"})


def _pickles(blobs: dict[str, str]) -> dict[str, str]:
    return {name: blob for name, blob in blobs.items() if name.startswith("pytorch_model")}
