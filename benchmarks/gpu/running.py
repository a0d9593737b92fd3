"""Runs steps one after another within a time budget, prints each at once, and keeps what all of them gave as JSON.

A step that fails costs only itself. After an error that leaves the device unusable, the later steps run in a new
process. Knows nothing of what a step does.
"""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks.gpu.figures import Figure, SkippedError, Verdict

REASON_CHARACTERS: Final = 400
# The worst first: a step has the verdict of its worst figure.
WORST_FIRST: Final = (Verdict.FAIL, Verdict.MISS, Verdict.PASS, Verdict.SHOWN)


@dataclass(frozen=True)
class Step:
    """One step. `about_seconds` is the time that it takes on a fast card: with less time left, the step is cut."""

    name: str
    title: str
    run: Callable[[], Sequence[Figure]]
    about_seconds: float = 10.0


@dataclass(frozen=True)
class Outcome:
    """The end of a step, ready for JSON."""

    name: str
    title: str
    verdict: Verdict
    seconds: float = 0.0
    reason: str = ""
    figures: Sequence[Mapping[str, Any]] = ()

    def to_json(self) -> dict[str, Any]:
        """All fields."""
        return dict(vars(self))


@dataclass
class Run:
    """A run of steps: its budget, whether there is a card, and the file for JSON.

    `device_works` says whether the device still computes. `in_new_process` runs the steps of these names in another
    process within the seconds given, and returns their outcomes.
    """

    budget_seconds: float
    card: bool
    header: Mapping[str, Any]
    device_works: Callable[[], bool] = lambda: True
    in_new_process: Callable[[Sequence[str], float], Sequence[Outcome]] | None = None
    json_file: Path | None = None
    outcomes: list[Outcome] = field(default_factory=list)

    def take(self, steps: Sequence[Step]) -> int:
        """Run the steps. Returns the exit code: 1 where a step failed or a figure missed its bar."""
        began = time.monotonic()
        for position, step in enumerate(steps):
            left = self.budget_seconds - (time.monotonic() - began)
            self._report(self._outcome(step, left))
            broken = self.outcomes[-1].verdict is Verdict.FAIL and not self.device_works()
            if broken and self.in_new_process is not None and position + 1 < len(steps):
                print("    the device is unusable after this error: a new process runs the other steps", flush=True)
                left = self.budget_seconds - (time.monotonic() - began)
                names = [later.name for later in steps[position + 1 :]]
                self.outcomes += self.in_new_process(names, left)
                self._write()
                break
        self._summarise(time.monotonic() - began)
        return int(any(outcome.verdict in (Verdict.FAIL, Verdict.MISS) for outcome in self.outcomes))

    def _outcome(self, step: Step, left: float) -> Outcome:
        if left < step.about_seconds:
            reason = f"{max(left, 0):.0f} s are left, and the step takes about {step.about_seconds:.0f} s"
            return Outcome(step.name, step.title, Verdict.CUT, reason=reason)
        print(f"{len(self.outcomes) + 1:>2} {step.name}: {step.title}", flush=True)
        began = time.monotonic()
        figures: Sequence[Figure] = ()
        try:
            figures, verdict, reason = step.run(), Verdict.SHOWN, ""
        except SkippedError as skipped:
            verdict, reason = Verdict.SKIP, str(skipped)
        # Whatever a step raises, the other steps run.
        except Exception as error:
            verdict, reason = Verdict.FAIL, f"{type(error).__name__}: {error}"[:REASON_CHARACTERS]
            traceback.print_exc(limit=-3)
        verdicts = {figure.verdict(card=self.card) for figure in figures} | {verdict}
        worst = next((each for each in WORST_FIRST if each in verdicts), verdict)
        for figure in figures:
            print(figure.line(card=self.card), flush=True)
        taken = [figure.to_json(card=self.card) for figure in figures]
        return Outcome(step.name, step.title, worst, time.monotonic() - began, reason, taken)

    def _report(self, outcome: Outcome) -> None:
        reason = f": {outcome.reason}" if outcome.reason else ""
        if outcome.verdict is Verdict.CUT:
            print(f"{len(self.outcomes) + 1:>2} {outcome.name}: {outcome.title}", flush=True)
        print(f"    {outcome.verdict or 'done'} in {outcome.seconds:.1f} s{reason}", flush=True)
        self.outcomes.append(outcome)
        self._write()

    def _write(self) -> None:
        """Written after every step, so that a run that is killed leaves the steps before."""
        if self.json_file is not None:
            steps = [outcome.to_json() for outcome in self.outcomes]
            self.json_file.write_text(json.dumps({**self.header, "steps": steps}, indent=1) + "\n", "utf-8")

    def _summarise(self, seconds: float) -> None:
        by_verdict = {
            verdict: [outcome.name for outcome in self.outcomes if outcome.verdict is verdict] for verdict in Verdict
        }
        passed = len(by_verdict[Verdict.PASS]) + len(by_verdict[Verdict.SHOWN])
        print(f"{passed} of {len(self.outcomes)} steps passed in {seconds:.0f} s")
        for verdict in (Verdict.FAIL, Verdict.MISS, Verdict.CUT, Verdict.SKIP):
            if by_verdict[verdict]:
                print(f"{verdict}: {', '.join(by_verdict[verdict])}")


def outcomes_in(file: Path) -> list[Outcome]:
    """The outcomes that another process wrote; none where it wrote no file."""
    if not file.exists():
        return []
    steps = json.loads(file.read_text("utf-8"))["steps"]
    return [Outcome(**{**step, "verdict": Verdict(step["verdict"])}) for step in steps]
