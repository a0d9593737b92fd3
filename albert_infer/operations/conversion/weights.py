"""Where the weights of a conversion come from: safetensors of the source or of the hub's own bot, else a pickle.

A pickle is opened by `unpickled` alone, in a process without the environment, and without a network where the machine
allows it.
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
# A network of its own that leads nowhere; of util-linux.
WITHOUT_NETWORK: Final = ("unshare", "--user", "--map-root-user", "--net", "--")


@dataclass
class WeightFinder:
    """Finds the weights of `source`, and keeps in `origin` where they came from, in words."""

    source: str
    origin: str = ""

    def __call__(self, folder: Folder, files: set[str]) -> dict[str, bytes]:
        """The weights by the names of their files, for a `folder` with these files. Raises ModelError."""
        found = self._found(folder, files)
        names = [name for data in found.values() for name in _names(data)]
        if not (wrapper := wrapper_of(names)):
            return found
        self.origin += f", without {wrapper!r} before each name"
        return {name: _unwrapped(data, wrapper) for name, data in found.items()}

    def _found(self, folder: Folder, files: set[str]) -> dict[str, bytes]:
        if found := safetensors_in(folder, files, self.source):
            self.origin = f"{', '.join(found)} of {self.source}, as they are"
            return found
        hub_id = hub.hub_id(self.source)
        if hub_id is not None and (found := self._offered(hub_id)):
            return found
        names = files.union(hub_names(self.source))
        if names.isdisjoint((PICKLED_WEIGHTS, PICKLED_INDEX)):
            raise remedies.without_weights(self.source, names)
        if hub_id is not None:
            folder = storage.open_folder(hub.downloaded(hub_id, PICKLES, index=PICKLED_INDEX))
        return self._unpickled(folder)

    def _offered(self, hub_id: hub.HubId) -> dict[str, bytes]:
        """The safetensors of a pull request of the hub's bot that was made from the same pickles."""
        ours = _pickles(hub.blobs(hub_id))
        for request in hub.conversions(hub_id) if ours else ():
            there = hub.blobs(request.at)
            if _pickles(there) != ours or not {WEIGHTS, WEIGHTS_INDEX} & there.keys():
                continue
            folder = storage.open_folder(hub.downloaded(request.at, SAFETENSORS, index=WEIGHTS_INDEX))
            found = safetensors_in(folder, {pin.name for pin in folder.objects()}, str(request.at))
            self.origin = (
                f"{', '.join(found)} of pull request {request.number} by {hub.CONVERSION_BOT}, "
                f"at commit {request.at.revision}"
            )
            return found
        return {}

    def _unpickled(self, folder: Folder) -> dict[str, bytes]:
        with tempfile.TemporaryDirectory() as work:
            names = self._copied(folder, Path(work))
            logs.tell("converting", f"converting: opening {', '.join(names)} in a process of its own", {})
            ran = run_alone([sys.executable, "-I", str(UNPICKLED), WEIGHTS, *names], work)
            if ran.returncode:
                last = (ran.stderr.strip().splitlines() or [f"the process ended with {ran.returncode}"])[-1]
                found = f"{', '.join(names)} cannot be converted: {last:.200}"
                remedy = "look at what it holds: save_pretrained writes tensors by name, and nothing else"
                raise ModelError(f"model {self.source}", found, remedy)
            network = (
                "without a network" if network_can_be_closed() else "with a network, which could not be closed here"
            )
            how = f"unpickled as weights only, in a process with none of the environment and {network}"
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
            found = f"{PICKLED_INDEX} names {missing[0]!r:.100}, which is not there" if missing else "it has no weights"
            raise ModelError(f"model {self.source}", found, "complete the folder")
        for name in names:
            (work / name).write_bytes(remedies.no_pointer(folder.read(name), name, self.source))
        return names


def run_alone(program: Sequence[str], work: str) -> subprocess.CompletedProcess[str]:
    """What becomes of the program in the folder `work`, with nothing of our environment, which may hold credentials.

    Without a network too, where the machine allows it.
    """
    environment = {"PATH": "/usr/bin:/bin", "HOME": work, "TMPDIR": work, "LC_ALL": "C.UTF-8"}
    prefix = WITHOUT_NETWORK if network_can_be_closed() else ()
    return subprocess.run(  # noqa: S603  our own program
        [*prefix, *program], cwd=work, env=environment, capture_output=True, text=True, check=False
    )


@cache
def network_can_be_closed() -> bool:
    """Whether this machine lets a user start a process without a network."""
    if which(WITHOUT_NETWORK[0]) is None:
        return False
    return subprocess.run([*WITHOUT_NETWORK, "true"], capture_output=True, check=False).returncode == 0  # noqa: S603


def _names(data: bytes) -> Collection[str]:
    """The names of the tensors; none in a damaged file, which is refused where it is verified."""
    try:
        return tensor_headers(data)
    except ValueError:
        return ("",)


def _unwrapped(data: bytes, wrapper: str) -> bytes:
    tensors = {name.removeprefix(wrapper): tensor for name, tensor in safetensors.torch.load(data).items()}
    return safetensors.torch.save(tensors, metadata={"format": "pt"})


def _pickles(blobs: dict[str, str]) -> dict[str, str]:
    return {name: blob for name, blob in blobs.items() if name.startswith("pytorch_model")}
