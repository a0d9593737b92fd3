"""What must hold, judged without any code of the project: own reading of manifests and names, own digests.

The oracle is told of every change of the store, and of every start that begins or ends. Invariants:

    I0  a manifest that is published accounts for each unit of its plan exactly once
    I1  each file that the standing `_SUCCESS` names is there with its bytes, always
    I2  with nobody at work, the folder shows exactly the rows of the manifest, at the latest after one more start
    I3  exit codes are true, a start publishes over another plan at most once, every start ends, and nothing but the
        project's errors is raised
    I4  a start that begins after damage and exits 0 leaves its plan whole
    I5  a clean-up takes nothing that a start at work may count on: see `in_use`
    I6  a name that a manifest named never holds other bytes
    I7  files of labels in the order of their names are in the order of the input
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from simulation import units
from simulation.in_use import CleanUpAtWork, InUse, StartAtWork
from simulation.manifests import Published, ViolationError, place_of, rows_of
from simulation.requests import Request
from simulation.store import Store, StoredFile, sha256
from simulation.units import Row

SUCCESS: Final = "_SUCCESS"


@dataclass
class Oracle:
    """Watches one store. `ignored` are signatures that are looked past, to find what else is wrong."""

    store: Store
    ignored: frozenset[str] = frozenset()
    published: Published | None = None
    broken: set[str] = field(default_factory=set)
    # Names that the operator has laid hands on, as long as they do not hold their bytes again.
    damaged: set[str] = field(default_factory=set)
    was_damaged: bool = False
    # All names that the operator has ever laid hands on.
    ever_damaged: set[str] = field(default_factory=set)
    # When that was, for each name that nobody has written again.
    _damaged_at: dict[str, int] = field(default_factory=dict)
    # Every manifest, with the step since which it was published.
    _history: list[tuple[int, Published]] = field(default_factory=list)
    # An operator put other bytes where a unit was staged: only a person knows which are right.
    may_need_a_person: bool = False
    starts: dict[str, StartAtWork] = field(default_factory=dict)
    clean_ups: dict[str, CleanUpAtWork] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    # Listings are behind: then marks and damage may be overlooked, and what a start waits for may not come in time.
    is_stale: bool = False
    step: int = 0
    # Whether this step is that of a request whose sender does not wait for it any more.
    is_late: bool = False
    # When the request was sent that takes effect in this step.
    sent_at: int = 0
    in_use: InUse = field(default_factory=InUse)
    # Starts that had no answer from the store, and gave up on it.
    gave_up: set[str] = field(default_factory=set)
    # By its name, the digest of each file that any manifest has named; names of version 1 are given again.
    _ever_named: dict[str, str] = field(default_factory=dict)
    _ever_staged: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._ever_staged = {unit for unit in map(_staged_unit, self.store.contents) if unit}
        self.store.watcher = self.changed
        success = self.store.contents.get(SUCCESS)
        if success is not None:
            self.published = Published.parsed(success.data)
            self.broken = {name for name in self.published.files if not self._holds(name)}

    def violated(self, signature: str, told: str) -> None:
        """Raise the violation, unless it is one to look past."""
        if signature not in self.ignored:
            raise ViolationError(signature, told)

    @property
    def is_whole(self) -> bool:
        """Whether something is published, and all of it is there."""
        return self.published is not None and not self.broken

    def changed(self, name: str, before: StoredFile | None, after: StoredFile | None) -> None:
        """Judge one change of the store."""
        self._judge_change(name, before, after)
        start = self.starts.get(self.store.actor)
        if start and not self.is_late and not name.endswith("/report.json"):
            # What it saw before does not excuse how it ends: it looks once more after its last change.
            start.saw_published = False
            self._tell(start)

    def _judge_change(self, name: str, before: StoredFile | None, after: StoredFile | None) -> None:
        if after in self.store.overwritten.values():
            self.damaged.add(name)
        elif after is not None and self._damaged_at.get(name) != self.step:
            self._damaged_at.pop(name, None)
        if name == SUCCESS:
            self._republished(before, after)
        elif self.published and name in self.published.files:
            self._named_file_changed(name)
        elif name.startswith("_units/"):
            self._staged_changed(name, after)
        elif name in self._ever_named and after and name not in self.damaged:
            self._judge_name(name, sha256(after.data))
        elif name.startswith("_runs/") and name.endswith("/begun.json"):
            # On a disk a mark is as old as its bytes, which are written before it gets its name.
            written_ns = after.modified_ns if after else None
            self.in_use.mark_changed(name.split("/")[1], self.step, written_ns)

    def began(self, start: StartAtWork) -> None:
        """A start has sent its first request."""
        self.starts[start.name] = start
        self._tell(start)

    def died(self, name: str) -> None:
        """A start was killed: nothing is asked of it any more."""
        self.starts.pop(name, None)

    def ended(self, name: str, code: int) -> None:
        """Judge the exit code of a start."""
        start = self.starts.pop(name)
        overlooked = self.is_stale and start.saw_published
        if code == 0 and not start.saw_whole and not overlooked:
            signature = "I4 exit 0 with a file missing" if self.was_damaged else "I3 exit 0 but never whole"
            self.violated(signature, f"{name} of plan {start.plan_id} ended with 0")
        if code == 0 and not start.saw_published:
            self.violated("I3 exit 0 but not published at the last", f"{name} of plan {start.plan_id}")
        if code == 6 and not start.saw_other:
            self.violated("I3 exit 6 without another plan", f"{name} of plan {start.plan_id}")
        if code == 5 and not self.may_need_a_person:
            why = "after damage that a start can mend" if self.was_damaged else "without damage"
            self.violated(f"I3 exit 5 {why}", f"{name} of plan {start.plan_id}")
        if code == 4 and name not in self.gave_up and not self.is_stale:
            self.violated("I3 exit 4 though the store answered", f"{name} of plan {start.plan_id}")
        if code == 3 and not units.are_unreadable(start.unit_ids):
            self.violated("I3 exit 3 though a row could be read", f"{name} of plan {start.plan_id}")
        if code not in {0, 3, 4, 5, 6}:
            self.violated("I3 exit code", f"{name} ended with {code}")

    def cleaned(self, name: str, code: int) -> None:
        """Judge the exit code of a clean-up: 4 if it made way for a start, 5 for damage only."""
        if code not in {0, 4} and not self.was_damaged:
            self.violated("I3 exit code of a clean-up", f"{name} ended with {code}")

    def asked(self, name: str, request: Request) -> None:
        """A request of a start or of a clean-up is about to take effect."""
        at_work = self.starts.get(name) or self.clean_ups.get(name)
        if at_work:
            at_work.asks(request, self.step)

    def damage(self, names: Sequence[str], *, for_a_person: bool) -> None:
        """An operator is about to lay hands on a file that has these names."""
        self.counts["damages"] += 1
        self.damaged.update(names)
        self.ever_damaged.update(names)
        self._damaged_at.update(dict.fromkeys(names, self.step))
        self.was_damaged = True
        self.may_need_a_person |= for_a_person

    def visible_rows(self) -> Counter[Row]:
        """Every row that a reader of the folder sees, hidden names left out but rejected rows included."""
        rows: Counter[Row] = Counter()
        for name, file in self.store.contents.items():
            folder, _, _ = name.partition("/")
            if folder == "_rejected" or not any(segment.startswith(("_", ".")) for segment in name.split("/")):
                rows.update(rows_of(sha256(file.data), name))
        return rows

    def named_rows(self) -> Counter[Row]:
        """Every row of the standing manifest."""
        rows: Counter[Row] = Counter()
        for name, (digest, _) in (self.published.files if self.published else {}).items():
            rows.update(rows_of(digest, name))
        return rows

    def _republished(self, before: StoredFile | None, after: StoredFile | None) -> None:
        if after is None:
            self.violated("I1 _SUCCESS is gone", f"deleted by {self.store.actor}")
        stood, self.published = self.published, Published.parsed(after.data) if after else None
        self._judge_place(stood)
        self.counts["publishes" if before is None else "replaces"] += 1
        self.broken = {name for name in self.published.files if not self._holds(name)} if self.published else set()
        if self.broken - self.damaged:
            missing = sorted(self.broken - self.damaged)[0]
            self.violated("I1 _SUCCESS names a missing file", f"{missing}, by {self.store.actor}")
        if self.published:
            self._history.append((self.step, self.published))
            self._judge_account(self.published)
            self._judge_order(self.published)
            for name, (digest, _) in self.published.files.items():
                self._judge_name(name, digest)
        self._tell_all()

    def _judge_place(self, stood: Published | None) -> None:
        """I3: a start takes the place of other plans once, and then does not fight for it."""
        start, now = self.starts.get(self.store.actor), self.published
        if start and now and stood and now.plan_id == start.plan_id != stood.plan_id:
            start.replaced += 1
            if start.replaced > 1:
                self.violated("I3 a start fights for its place", f"{start.name} of plan {start.plan_id}")

    def _named_file_changed(self, name: str) -> None:
        if self._holds(name):
            self.broken.discard(name)
            self.damaged.discard(name)
        else:
            self.broken.add(name)
            if name not in self.damaged:
                by = "a clean-up" if self.store.actor in self.clean_ups else "a start"
                self.violated(f"I1 {by} took a named file", f"{name}, by {self.store.actor}")
        self._tell_all()

    def _staged_changed(self, name: str, after: StoredFile | None) -> None:
        unit_id = _staged_unit(name)
        if after is not None:
            if unit_id:
                self.counts["relabelled" if unit_id in self._ever_staged else "labelled"] += 1
                self._ever_staged.add(unit_id)
                by = None if self.is_late else self.starts.get(self.store.actor)
                self._judge_use("I5 a unit is labelled again", self.in_use.staged(unit_id, by, self.step))
            return
        clean_up = self.clean_ups.get(self.store.actor)
        if clean_up is None or self._was_published(name[7:23], clean_up.listed_at):
            return
        is_whole = name.endswith(f"{name[7:23]}.parquet") or f"_units/{name[7:23]}.parquet" in self.store.contents
        used = self.in_use.taken(name[7:23], clean_up, self.sent_at, self.starts, is_whole=is_whole)
        self._judge_use("I5 a clean-up took a unit in use", used)

    def _judge_use(self, signature: str, used: str) -> None:
        if used and not self.is_stale:
            self.violated(signature, used)

    def _was_published(self, unit_id: str, step: int) -> bool:
        """Whether readers had the unit at that step, or have it now, so that nobody needs its staged objects."""
        then = [published for since, published in self._history if since <= step][-1:]
        now = [self.published] if self.published else []
        return any(self._has_whole(published, unit_id, step) for published in (*then, *now))

    def _has_whole(self, published: Published, unit_id: str, step: int) -> bool:
        """Whether the manifest has the unit, and nothing damaged it up to that step."""
        touched = {name for name in published.files if self._damaged_at.get(name, step + 1) <= step}
        damaged = {name for name in touched if not self._looks_whole(published, name)}
        return unit_id in published.unit_ids and unit_id not in {published.unit_of[name] for name in damaged}

    def _judge_account(self, published: Published) -> None:
        """I0: units of the manifest against the rows that its files hold."""
        held = Counter(published.rows)
        for unit_id in published.unit_ids:
            rows = units.unit_of(unit_id).rows
            there = {row for row in held if row[0] == unit_id}
            if there and there != rows:
                self.violated("I0 rows of a unit", f"{unit_id}: {len(there)} of {len(rows)}")
        wrong = [unit_id for unit_id, count in Counter(published.unit_ids).items() if count > 1]
        if wrong or any(count > 1 for count in held.values()):
            self.violated("I0 a unit twice", str(wrong))

    def _judge_order(self, published: Published) -> None:
        """I7: files of labels in the order of their names are in the order of the input."""
        names = sorted(name for name in published.files if "/" not in name)
        if all("," in name for name in names):
            places = [place_of(published.files[name][0]) for name in names]
            if places != sorted(places):
                self.violated("I7 names are out of order", str(names))

    def _judge_name(self, name: str, digest: str) -> None:
        """I6: a name that was given by a publication holds the same bytes for ever."""
        if "," in name and self._ever_named.setdefault(name, digest) != digest:
            self.violated("I6 a name has two contents", f"{name}, by {self.store.actor}")

    def _holds(self, name: str) -> bool:
        assert self.published is not None
        file = self.store.contents.get(name)
        digest, size = self.published.files[name]
        return file is not None and len(file.data) == size and sha256(file.data) == digest

    def is_unseen_damage(self) -> bool:
        """Whether all that is missing are other bytes of the same size in files of version 1, which has no versions."""
        published = self.published
        return published is not None and bool(self.broken) and all(self._looks_whole(published, n) for n in self.broken)

    def _looks_whole(self, published: Published, name: str) -> bool:
        """Whether nobody can tell without reading the file: version 1 kept its size alone."""
        file = self.store.contents.get(name)
        return "," not in name and file is not None and len(file.data) == published.files[name][1]

    def _tell_all(self) -> None:
        for start in self.starts.values():
            self._tell(start)

    def _tell(self, start: StartAtWork) -> None:
        if self.published is None:
            return
        if self.published.plan_id != start.plan_id:
            start.saw_other = True
            return
        start.saw_published = True
        start.saw_whole |= not self.broken or self.is_unseen_damage()


def _staged_unit(name: str) -> str | None:
    """The unit of a staged part or quarantine: what makes a unit done."""
    if name.startswith("_units/") and not name.endswith(".rejected.parquet"):
        return name[7:23]
    return None
