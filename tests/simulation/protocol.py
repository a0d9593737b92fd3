"""What of the project is simulated: one adapter module a version of the publish protocol."""

from __future__ import annotations

import importlib
from datetime import datetime
from typing import Protocol, cast

from albert_infer.storage import Folder
from simulation.scenario import Start


class Machine(Protocol):
    """What a start takes from the machine that it runs on."""

    def now(self) -> datetime:
        """The time."""
        ...

    def new_id(self) -> str:
        """Eight hexadecimal digits that nobody else has."""
        ...


class ProtocolUnderTest(Protocol):
    """What the actors of a schedule run. Both raise AlbertInferError."""

    def run_start(self, start: Start, output: Folder, machine: Machine) -> None:
        """One start of the labelling job, to its end."""
        ...

    def run_clean_up(self, output: Folder, limit: datetime, machine: Machine) -> None:
        """One clean-up that deletes what is older than `limit`."""
        ...


def protocol_named(name: str) -> ProtocolUnderTest:
    """The adapter module of that name."""
    return cast(ProtocolUnderTest, importlib.import_module(f"simulation.{name}"))
