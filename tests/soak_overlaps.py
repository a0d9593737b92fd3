"""A round of the soak in which drivers of several plans, clean-ups and an operator's `rm` overlap at one output.

Each wave starts two or three drivers at once and meanwhile kills, pauses, cleans up and removes published files. Then
everything rests, the plan that is published is started once more, and the output is recounted.
"""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from job_runs import JOB, in_open_session, run_here, started
from output_places import LocalPlace, Place, manifest_at, untrue_files
from soak_parts import ALL_STARTS, Soak, delivered_pairs, faults, kill_something, kind_of, recount, some_process

from albert_infer.config import CleanSettings
from albert_infer.errors import AlbertInferError, InputError
from albert_infer.operations.cleaning import clean_runs

# 6 is the end of a driver that was overtaken.
ALLOWED_ENDS = {0, 4, 6, -signal.SIGKILL}
# The end of a driver or a clean-up that meets a file which this module has damaged.
DAMAGED = 5
START_SECONDS, WAVE_SECONDS = 400, 600
# More than a clean-up keeps.
DAYS = 40
# How often each is drawn, against the others, and how often it may happen in one wave: three deaths make a unit poison,
# and a driver whose units are cleaned away again and again never ends. A file vanishes in some waves only, since
# a look and the ends of a wave say less from then on.
ACTIONS = {"look": 4, "kill": 2, "pause": 4, "clean": 3, "vanish": 1}
AT_MOST = {"look": 20, "kill": 2, "pause": 8, "clean": 3, "vanish": 1}
VANISHING_WAVES = 0.25
# A start after a wave may still meet workers of a killed driver; nothing else disturbs it.
QUIET_STARTS = 3


@dataclass(frozen=True)
class PlanFlags:
    """What tells one plan from the others: its input, perhaps another flag, and the ids that it labels."""

    source: str
    more: tuple[object, ...]
    expected: Counter[str]


@dataclass
class Site:
    """One output, and the plans by their ids that are published there in turn."""

    soak: Soak
    title: str
    place: Place
    plans: dict[str, PlanFlags] = field(default_factory=dict)
    # Whether this module has removed a file since the last recount.
    is_damaged: bool = False

    def flags(self, plan: PlanFlags, *more: object) -> tuple[object, ...]:
        """The command of a plan."""
        places = ("--input", plan.source, "--output", f"{self.place.uri}/out/", *self.place.flags)
        return (*places, "--model", self.soak.checkpoint, *ALL_STARTS, *plan.more, *more)

    def learn(self, plan: PlanFlags) -> None:
        """Find out the id of a plan: a start that a limit ends before it labels leaves a report under it."""
        outcome = run_here(*self.flags(plan, "--max-rows", 1))
        assert outcome.exit_code == 3, outcome.stderr
        (new,) = {name.split("/")[1] for name in self.place.names() if name.startswith("_runs/")} - self.plans.keys()
        self.plans[new] = plan

    def manifest(self) -> dict[str, Any] | None:
        """`_SUCCESS`; None if nothing is published."""
        try:
            return manifest_at(self.place)
        except FileNotFoundError:
            return None


def overlap(soak: Soak, number: int) -> None:
    """Up to three waves at one output, each recounted, and at times a published file that is removed at rest."""
    site = new_site(soak, number)
    for turn in range(1, soak.draw.randrange(2, 5)):
        soak.proxy.set_rules(faults(soak.draw))
        wave(site)
        soak.proxy.set_rules([])
        settle(site, f"round {number}, wave {turn}")
        if soak.draw.random() < 0.4 and vanish(site):
            settle(site, f"round {number}, a file removed")


def new_site(soak: Soak, number: int) -> Site:
    """Two to four input files, and three plans: all of them, all of them cut shorter, and the first alone.

    The last shares its units with the first, and the second with none.
    """
    place = soak.new_place(f"overlap-{number}", share_on_s3=0.5)
    site = Site(soak, f"round {number}", place)
    files = delivered_pairs(place, soak.draw, rows=(30, 100))
    every: Counter[str] = sum(files.values(), Counter())
    for plan in (
        PlanFlags(f"{place.uri}/in/", (), every),
        PlanFlags(f"{place.uri}/in/", ("--max-length", 16), every),
        PlanFlags(f"{place.uri}/in/0.parquet", (), files["0.parquet"]),
    ):
        site.learn(plan)
    return site


# --- while drivers are at work


def wave(site: Site) -> None:
    """Two or three drivers at once, and what befalls them, until all have ended."""
    soak, draw = site.soak, site.soak.draw
    if isinstance(site.place, LocalPlace) and draw.random() < 0.5:
        site.place.age(DAYS)
    paused: dict[int, float] = {}
    deadline = time.monotonic() + WAVE_SECONDS
    with ExitStack() as at_work:
        drivers = [at_work.enter_context(driver(site)) for _ in range(draw.randrange(2, 4))]
        # Before they are waited for, or killed.
        at_work.callback(lambda: resume(paused, until=math.inf))
        actions: dict[str, Callable[[], object]] = {
            "look": lambda: look(site),
            "kill": lambda: kill_something(soak, drivers),
            "pause": lambda: pause(soak, drivers, paused),
            "clean": lambda: clean(site),
            "vanish": lambda: vanish(site),
        }
        left = Counter(AT_MOST if draw.random() < VANISHING_WAVES else {**AT_MOST, "vanish": 0})
        while any(one.poll() is None for one in drivers) and time.monotonic() < deadline:
            time.sleep(draw.uniform(0.2, 3))
            resume(paused, until=time.monotonic())
            action = draw.choices([*ACTIONS], [*ACTIONS.values()])[0]
            if left[action]:
                left[action] -= 1
                actions[action]()
        resume(paused, until=math.inf)
        for one in drivers:
            judge_end(site, one)


@contextmanager
def driver(site: Site) -> Iterator[subprocess.Popen[str]]:
    """A start of one of the plans, most of them with --replace."""
    draw = site.soak.draw
    replace = ("--replace",) if draw.random() < 0.8 else ()
    command = [sys.executable, JOB, *site.flags(draw.choice([*site.plans.values()]), *replace)]
    with started(command, env=in_open_session({})) as process:
        yield process


def judge_end(site: Site, one: subprocess.Popen[str]) -> None:
    """Wait for a driver's end, and refute one that may not be."""
    try:
        _, stderr = one.communicate(timeout=START_SECONDS)
    except subprocess.TimeoutExpired:
        site.soak.refute(f"{site.title}: a driver hangs")
        return
    site.soak.tally.starts += 1
    site.soak.tally.ends[one.returncode] += 1
    if one.returncode not in ALLOWED_ENDS | ({DAMAGED} if site.is_damaged else set()):
        site.soak.refute(f"{site.title}: a driver ended with {one.returncode}: {stderr[-500:]}")


def pause(soak: Soak, drivers: list[subprocess.Popen[str]], paused: dict[int, float]) -> None:
    """Stop a driver or a worker for some seconds."""
    victim = some_process(soak, drivers)
    if victim is None or victim in paused:
        return
    soak.tally.pauses[kind_of(victim, drivers)] += 1
    with suppress(ProcessLookupError):
        os.kill(victim, signal.SIGSTOP)
        paused[victim] = time.monotonic() + soak.draw.uniform(1, 15)


def resume(paused: dict[int, float], *, until: float) -> None:
    """Let those go on whose time is up."""
    for pid in [pid for pid, end in paused.items() if end <= until]:
        del paused[pid]
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def clean(site: Site) -> None:
    """Clean up with deletes: on S3 as in 40 days, where nothing is young; locally what `wave` has made older goes."""
    later = timedelta(0 if isinstance(site.place, LocalPlace) else DAYS)
    settings = CleanSettings(output_root=f"{site.place.uri}/out/", s3_endpoint=site.place.endpoint, delete=True)
    try:
        cleaning = clean_runs(settings, now=datetime.now(UTC) + later)
        failures: list[AlbertInferError] = [output.failure for output in cleaning.outputs if output.failure]
    except InputError:
        return  # nothing is there yet
    except AlbertInferError as error:
        failures = [error]
    site.soak.tally.cleanings[max((failure.exit_code for failure in failures), default=0)] += 1
    for failure in failures:
        if failure.exit_code != 4 and not (site.is_damaged and failure.exit_code == DAMAGED):
            site.soak.refute(f"{site.title}: a clean-up ended with {failure.exit_code}: {failure}")


def vanish(site: Site) -> bool:
    """Remove a published file, as an operator's `rm` does; whether there was one."""
    manifest = site.manifest()
    if manifest is None:
        return False
    site.is_damaged = True
    site.soak.tally.vanished += 1
    with suppress(FileNotFoundError):  # something else is published by now
        site.place.remove(site.soak.draw.choice(manifest["files"])["path"])
    return True


def look(site: Site) -> None:
    """Every file of `_SUCCESS` is there as it says, unless something else is published before they are all read."""
    before = site.manifest()
    if before is None or site.is_damaged:
        return
    with suppress(FileNotFoundError):
        untrue = untrue_files(site.place)
        if untrue and site.manifest() == before:
            site.soak.tally.untrue += len(untrue)
            site.soak.refute(f"{site.title}: `_SUCCESS` names {untrue} at work")


# --- at rest


def settle(site: Site, title: str) -> None:
    """Start the plan that is published, or any if none is, until it ends with 0; then nothing may be wrong any more."""
    manifest = site.manifest()
    plan = site.plans[manifest["plan_id"]] if manifest else site.soak.draw.choice([*site.plans.values()])
    stderr = ""
    for _ in range(QUIET_STARTS):
        with started([sys.executable, JOB, *site.flags(plan)], env=in_open_session({})) as process:
            _, stderr = process.communicate(timeout=START_SECONDS)
        site.soak.tally.starts += 1
        site.soak.tally.ends[process.returncode] += 1
        if process.returncode != 4:
            break
    if process.returncode != 0:
        site.soak.refute(f"{title}: the published plan ended with {process.returncode}: {stderr[-500:]}")
        return
    site.is_damaged = False
    recount(site.soak, title, site.place, plan.source, plan.expected)
