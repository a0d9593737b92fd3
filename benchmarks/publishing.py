"""`python -m benchmarks.publishing`: what it costs to publish a run that is labelled, in requests and in seconds.

Units of one row are staged as labelling leaves them. What is counted is all that a healthy start sends before and after
its labelling: looks, seal, copies, `_SUCCESS`, deletes. A listing counts one request for each thousand objects, and so
does a delete.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from albert_infer import storage
from albert_infer.config import LabelSettings
from albert_infer.output import commit, layout
from albert_infer.read.planning import Plan, Unit, make_plan
from albert_infer.read.survey import survey_input
from albert_infer.schema import PairColumns
from albert_infer.storage import Folder
from benchmarks import machine, pairs
from benchmarks.staged import StagedRun

COLUMNS: Final = PairColumns(pair_id="pair_id", id_type=pa.string())
# Of one listing, and of one delete.
OBJECTS_A_REQUEST: Final = 1000


@dataclass
class CountingFolder:
    """A folder that counts the requests that its methods send to S3."""

    folder: Folder
    requests: Counter[str] = field(default_factory=Counter)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.folder, name)
        return self._counted(name, found) if callable(found) and name != "uri_of" else found

    def _counted(self, name: str, method: Any) -> Any:
        def counted(*arguments: Any) -> Any:
            result = method(*arguments)
            listed = result if name in {"objects", "stored"} else arguments[0] if name == "delete" else ()
            self.requests[name] += max(1, -(-len(listed) // OBJECTS_A_REQUEST))
            return result

        return counted


@dataclass
class LabelledHere(StagedRun):
    """Stages every unit when the start asks for labels; that part is not counted."""

    rows: pa.Table
    counting: CountingFolder
    seconds_labelling: float = 0.0

    def label(self, missing: Sequence[Unit], done: int) -> None:
        """Put the units' objects, past the counter."""
        begun = time.perf_counter()
        storage.each(self.counting.folder, missing, self._stage)
        self.seconds_labelling = time.perf_counter() - begun

    def _stage(self, unit: Unit) -> None:
        rows = pairs.labelled(unit.unit_id, self.rows.slice(unit.range.first_row, unit.range.rows))
        source = commit.Source("made-up", unit.range.first_row, unit.range.rows)
        commit.commit_unit(self.counting.folder, unit.unit_id, source, rows, COLUMNS)


def main() -> None:
    """Publish once, then start once more where nothing is left to do; print both as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.publishing", description=__doc__)
    parser.add_argument("--units", type=int, default=10_000)
    parser.add_argument("--output", help="empty folder or S3 prefix; a temporary folder if left out")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="albert-infer-publishing-") as scratch:
        rows = pairs.read_pairs(pairs.default_source(), given.units)
        pairs.write_files(Path(scratch) / "in", rows, given.units)
        settings = LabelSettings(
            input=f"{scratch}/in", output=given.output or f"{scratch}/out", unit_rows=1, max_rejected_share=1
        )
        plan = make_plan(
            survey_input(storage.resolve_input(settings.input), settings),
            settings,
            {"model": {"digests": {}, "label_map": []}},
            1024,
        )
        measured = {"first": start(plan, settings, rows), "again": start(plan, settings, rows)}
    print(json.dumps({"machine": asdict(machine.this_machine()), "units": len(plan.units), **measured}, indent=1))


def start(plan: Plan, settings: LabelSettings, rows: pa.Table) -> dict[str, Any]:
    """One start to its end: its requests by method, and its seconds without those of labelling."""
    counting = CountingFolder(storage.open_folder(settings.output))
    output: Any = counting
    run = LabelledHere(plan, output, settings, rows, counting)
    begun = time.perf_counter()
    run.publish()
    seconds = time.perf_counter() - begun - run.seconds_labelling
    success = counting.folder.stat(layout.SUCCESS)
    return {
        "seconds": round(seconds, 2),
        "requests": counting.requests.total(),
        "requests_by_method": dict(counting.requests.most_common()),
        "success_bytes": success.size if success else 0,
    }


if __name__ == "__main__":
    main()
