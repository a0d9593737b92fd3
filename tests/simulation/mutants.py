"""Safeguards of the protocol, each taken away by a change of its source: a schedule must notice every one.

`python -m simulation.mutants` tries all, `python -m simulation.mutants NAME` one. Imports nothing of the project before
the change is in place, so every mutant runs in a process of its own.
"""

from __future__ import annotations

import argparse
import importlib.machinery
import importlib.util
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Final

# A safeguard that so many schedules do not need is not shown to be one.
SEEDS: Final = 100_000


@dataclass(frozen=True)
class Mutant:
    """One safeguard, and the change of a module's source that takes it away."""

    name: str
    module: str
    old: str
    new: str

    def changed(self, source: str) -> str:
        """The source without the safeguard. Raises ValueError if it is not there exactly once."""
        if source.count(self.old) != 1:
            raise ValueError(f"{self.name}: {self.module} has {source.count(self.old)} times: {self.old}")
        return source.replace(self.old, self.new)


MUTANTS: Final = (
    Mutant(
        "success-is-swapped",
        "albert_infer.publish",
        "manifest.to_json(), seen.now.pin if seen.now else None)",
        "manifest.to_json(), output.stat(layout.SUCCESS))",
    ),
    Mutant(
        "seal-is-swapped",
        "albert_infer.publish",
        "seal.to_json(), seen.pins.get(name))",
        "seal.to_json(), output.stat(name))",
    ),
    Mutant(
        "only-dead-files-are-deleted",
        "albert_infer.standing",
        "if final.number <= number)",
        ")",
    ),
    Mutant(
        "numbers-grow",
        "albert_infer.publication",
        "(now.number + 1, now.id)",
        "(now.number, now.id)",
    ),
    Mutant(
        "a-seal-has-a-base",
        "albert_infer.standing",
        " or seal.publication.base != base:",
        ":",
    ),
    Mutant(
        "a-start-leaves-a-mark",
        "albert_infer.publication",
        "        publish.mark_begun(self.plan.plan_id, seen, self.output)\n",
        "",
    ),
    Mutant(
        "a-clean-up-looks-at-marks",
        "albert_infer.cleaning",
        "begun = marks is not None and",
        "begun = False and",
    ),
    Mutant(
        "a-clean-up-looks-at-success",
        "albert_infer.cleaning",
        "if begun or output.stat(layout.SUCCESS) != (seen.now.pin if seen.now else None):",
        "if begun:",
    ),
    Mutant(
        "a-clean-up-advances",
        "albert_infer.cleaning",
        "if seen.now and any(entry.kind is Kind.FILE and entry.name not in seen.dead for entry in found):",
        "if False:",
    ),
    Mutant(
        "a-start-advances",
        "albert_infer.publication",
        "if not self.has_advanced and any(",
        "if False and any(",
    ),
    Mutant(
        "a-start-does-not-fight",
        "albert_infer.publication",
        "            self.may_replace = frozenset()\n",
        "            pass\n",
    ),
    Mutant(
        "the-loser-takes-its-files-away",
        "albert_infer.publication",
        "        publish.deleted(sorted(dead.union(seen.dead)), self.output)\n",
        "",
    ),
    Mutant(
        "the-end-is-looked-at",
        "albert_infer.publication",
        "if self.output.stat(layout.SUCCESS) != now.pin:",
        "if False:",
    ),
    Mutant(
        "damage-is-seen",
        "albert_infer.standing",
        "suspects = [entry for entry in named if not _is_as_published(entry, stored.get(entry.path))]",
        "suspects = [entry for entry in named if entry.path not in stored]",
    ),
    Mutant(
        "a-look-is-of-one-moment",
        "albert_infer.standing",
        "if not damaged or (now and output.stat(layout.SUCCESS) == now.pin):",
        "if True:",
    ),
    Mutant(
        "units-that-went-are-labelled-again",
        "albert_infer.sealing",
        "        return AccountedUnit(unit)\n",
        "        raise\n",
    ),
    Mutant(
        "tokens-differ",
        "albert_infer.publication",
        "id=self.new_id(), base=base",
        'id="00000000", base=base',
    ),
)


class _Changing(MetaPathFinder, Loader):
    """Imports one module from its changed source."""

    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """The module's spec with this loader; None for every other module."""
        if name != self._mutant.module:
            return None
        found = PathFinder.find_spec(name, path)
        return importlib.util.spec_from_file_location(name, found.origin, loader=self) if found else None

    def exec_module(self, module: ModuleType) -> None:
        """Run the changed source."""
        assert module.__file__ is not None
        found = importlib.machinery.SourceFileLoader(module.__name__, module.__file__)
        source = found.get_source(module.__name__)
        assert source is not None
        exec(compile(self._mutant.changed(source), module.__file__, "exec"), vars(module))  # noqa: S102  (the project's)


def main(argv: Sequence[str] | None = None) -> int:
    """1 if a safeguard can be taken away without any schedule noticing."""
    parser = argparse.ArgumentParser(prog="python -m simulation.mutants", description=__doc__)
    parser.add_argument("name", nargs="?", help="the one to try in this process")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="how many schedules each is given")
    told = parser.parse_args(argv)
    if told.name is None:
        return max([_in_a_process(mutant, told.seeds) for mutant in MUTANTS])
    return _tried(next(mutant for mutant in MUTANTS if mutant.name == told.name), told.seeds)


def _in_a_process(mutant: Mutant, seeds: int) -> int:
    command = [sys.executable, "-m", "simulation.mutants", mutant.name, "--seeds", str(seeds)]
    return subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": "0"}, check=False).returncode


def _tried(mutant: Mutant, seeds: int) -> int:
    sys.meta_path.insert(0, _Changing(mutant))
    from simulation.campaign import Asked, first_broken  # only now: it imports what is changed

    broken = first_broken(Asked(0, seeds))
    print(f"{mutant.name:<36} {f'seed {broken[0]}: {broken[1]}' if broken else 'SURVIVES'}", flush=True)
    return 0 if broken else 1


if __name__ == "__main__":
    sys.exit(main())
