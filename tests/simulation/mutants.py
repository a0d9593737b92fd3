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
    """One safeguard, and the changes of a module's source that take it away: old text, new text."""

    name: str
    module: str
    changes: tuple[tuple[str, str], ...]
    # What it saves if no promise depends on it: then no schedule need notice.
    saves: str = ""

    def changed(self, source: str) -> str:
        """The source without the safeguard. Raises ValueError if the old text is not there exactly once."""
        for old, new in self.changes:
            if source.count(old) != 1:
                raise ValueError(f"{self.name}: {self.module} has {source.count(old)} times: {old}")
            source = source.replace(old, new)
        return source


def _without(name: str, module: str, old: str, new: str = "", *, saves: str = "") -> Mutant:
    return Mutant(name, module, ((old, new),), saves)


PUBLICATION: Final = "albert_infer.output.publication"
PUBLISH: Final = "albert_infer.output.publish"
INSPECTION: Final = "albert_infer.output.inspection"
SEALING: Final = "albert_infer.output.sealing"
CLEANING: Final = "albert_infer.operations.cleaning"
LEFTOVERS: Final = "albert_infer.operations.leftovers"

MUTANTS: Final = (
    _without(
        "success-is-swapped",
        PUBLISH,
        "manifest.to_json(), snapshot.published.pin if snapshot.published else None)",
        "manifest.to_json(), output.stat(layout.SUCCESS))",
    ),
    _without("ids-differ", PUBLICATION, "id=self.new_id(), base=base", 'id="00000000", base=base'),
    _without("numbers-grow", PUBLICATION, "(published.number + 1, published.id)", "(now.number, now.id)"),
    _without("a-seal-has-a-base", INSPECTION, " or seal.publication.base != base:", ":"),
    _without(
        "a-seal-is-swapped",
        PUBLISH,
        "seal.to_json(), snapshot.pins.get(name))",
        "seal.to_json(), output.stat(name))",
        saves="copies: each start would copy to names of its own, and one of them would win",
    ),
    _without("the-next-number-is-not-dead", INSPECTION, "if final.number <= number)", "if final.number <= number + 1)"),
    _without("only-dead-files-are-deleted", INSPECTION, "if final.number <= number)", ")"),
    Mutant(
        "a-copy-depends-on-a-version",
        "simulation.folders",
        (
            ("            if file.version != source.version:\n", "            if False:\n"),
            ("        if found != source:\n", "        if False:\n"),
            ("        if _pin(source.name, file) != source:\n", "        if False:\n"),
        ),
    ),
    Mutant(
        "the-swap-comes-last",
        PUBLICATION,
        (
            (
                "publish.copied(seal, snapshot, self.output), snapshot)",
                "{path: s.version for path, s in seal.sources.items()}, snapshot)",
            ),
            (
                "        if publish.put_success(manifest, snapshot, self.output):\n",
                "        if publish.put_success(manifest, snapshot, self.output):\n"
                "            publish.copied(seal, snapshot, self.output)\n",
            ),
        ),
    ),
    _without(
        "a-source-that-is-gone-is-looked-up",
        PUBLICATION,
        "            return  # a source has gone",
        "            raise  # a source has gone",
    ),
    _without("files-of-version-1-are-read", SEALING, "    if entry.version is not None:\n", "    if True:\n"),
    _without("units-that-went-are-noticed", SEALING, "        return AccountedUnit(unit)\n", "        raise\n"),
    _without("units-that-went-are-labelled-again", INSPECTION, "    done -= again - snapshot.intact.keys()\n"),
    _without(
        "kept-files-are-intact",
        INSPECTION,
        "for unit_id, files in units.items() if unit_id not in self.damaged}",
        "for unit_id, files in units.items()}",
    ),
    _without(
        "damage-is-looked-for",
        INSPECTION,
        "        named = published.manifest.all_files if published else ()\n",
        "        named = ()\n",
    ),
    _without(
        "versions-are-compared",
        INSPECTION,
        "suspects = [entry for entry in named if not _is_as_published(entry, stored.get(entry.path))]",
        "suspects = [entry for entry in named if entry.path not in stored]",
    ),
    _without(
        "a-look-is-of-one-moment",
        INSPECTION,
        "if not damaged or (published and output.stat(layout.SUCCESS) == published.pin):",
        "if True:",
        saves="labelling: a start that was overtaken would label what it cannot publish",
    ),
    _without("the-end-is-looked-at", PUBLICATION, "if self.output.stat(layout.SUCCESS) != published.pin:", "if False:"),
    _without(
        "a-start-does-not-fight",
        PUBLICATION,
        "self.may_replace = self.damaged = frozenset()",
        "self.damaged = frozenset()",
    ),
    _without(
        "the-loser-takes-its-files-away",
        PUBLICATION,
        "        publish.deleted(sorted(own.union(snapshot.dead)), self.output)\n",
    ),
    _without("a-start-advances", PUBLICATION, "if not self.has_advanced and any(", "if False and any("),
    _without(
        "a-start-leaves-a-mark",
        PUBLICATION,
        "        publish.mark_begun(self.plan.plan_id, snapshot, self.output, self.clock())\n",
    ),
    _without(
        "a-start-looks-again-after-its-mark",
        PUBLICATION,
        "self.output, self.clock())\n        return True",
        "self.output, self.clock())\n        return False",
    ),
    _without(
        "a-plan-that-is-gone-is-written-again",
        PUBLICATION,
        "            self.steps.keep_plan()\n",
        "            pass\n",
    ),
    _without(
        "a-unit-is-put-again",
        "albert_infer.output.commit",
        "            continue  # deleted since",
        "            raise  # deleted since",
    ),
    _without("a-plan-is-put-again", "albert_infer.storage.opening", "for _ in range(MAX_CREATED)", "for _ in range(1)"),
    _without("a-clean-up-looks-at-marks", CLEANING, "has_begun = marks is not None and", "has_begun = False and"),
    _without(
        "a-clean-up-compares-times", CLEANING, "return {entry.name: entry for", "return {entry.name: entry.pin for"
    ),
    _without(
        "a-clean-up-looks-at-success",
        CLEANING,
        "if has_begun or output.stat(layout.SUCCESS) != (snapshot.published.pin if snapshot.published else None):",
        "if has_begun:",
    ),
    _without(
        "a-clean-up-advances",
        CLEANING,
        "snapshot, abandoned = _without_seals(output, snapshot, new_id), set()",
        "abandoned = set()",
    ),
    _without(
        "a-clean-up-keeps-units-of-plans-not-known",
        LEFTOVERS,
        "            every_unit |= of_plan is None and layout.begun_name(plan) in snapshot.stored\n",
    ),
    _without(
        "a-clean-up-keeps-units-of-young-plans",
        LEFTOVERS,
        "            units |= (of_plan or set()) - (snapshot.listed_whole if is_published else set())\n",
    ),
    _without(
        "a-clean-up-keeps-files-where-nothing-is-published",
        LEFTOVERS,
        "                if snapshot.published is None:\n                    return True\n",
        "",
        saves="labels that only files hold after a person has deleted `_SUCCESS`, which nobody does here",
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
        if found is None:
            return None
        below = found.submodule_search_locations
        return importlib.util.spec_from_file_location(name, found.origin, loader=self, submodule_search_locations=below)

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

    broken = first_broken(Asked(0, seeds // 10 if mutant.saves else seeds))
    survives = f"survives; it only saves {mutant.saves}" if mutant.saves else "SURVIVES"
    print(f"{mutant.name:<50} {f'seed {broken[0]}: {broken[1]}' if broken else survives}", flush=True)
    return 0 if broken or mutant.saves else 1


if __name__ == "__main__":
    sys.exit(main())
