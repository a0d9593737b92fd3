"""Every way a run can end other than published, and the exit code of each.

    AlbertInferError
    ├── RefusedError         2  refused to start; nothing was written
    │   ├── SettingsError       a flag, variable or config key
    │   ├── ModelError          the checkpoint or its tokenizer
    │   ├── InputError          the input as a whole (a bad file is data: it is quarantined)
    │   │   ├── NoInputError        there is none: a night may have none
    │   │   ├── LeftOutError        there is something, and by the rules nothing of it is read
    │   │   └── TableError          the files belong to a table, which says what is in them
    │   └── OutputError         the output location
    ├── LimitError           3  a limit was not held; nothing was published
    ├── InfrastructureError  4  run it again and it goes on
    │   ├── ObjectMissingError  an object that should be there is gone
    │   └── ObjectChangedError  an object is not the one that was pinned
    ├── IntegrityError       5  something is there that must not be; a person looks
    ├── SupersededError      6  another plan is published here, or took over meanwhile
    └── AtWorkError          6  a job is at work on the same nights

Trouble with a row is data (`schema.Rejection`), never one of these.
"""

from __future__ import annotations

from typing import ClassVar


class AlbertInferError(Exception):
    """An end that the operator must hear about: what was asked for, what was found, what to do.

    The three parts are the exception's `args`, so that it survives pickling between Ray's processes.
    """

    exit_code: ClassVar[int]

    def __init__(self, asked: str, found: str, remedy: str) -> None:
        super().__init__(asked, found, remedy)
        self.asked = asked
        self.found = found
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.asked}: {self.found}; {self.remedy}"


class RefusedError(AlbertInferError):
    """Refused to start; nothing was written."""

    exit_code = 2


class SettingsError(RefusedError):
    """A setting is unknown, malformed, or contradicts another one."""


class ModelError(RefusedError):
    """The checkpoint cannot be used: missing, unsafe, damaged, or not a three-label NLI ALBERT."""


class InputError(RefusedError):
    """The input as a whole cannot be used: missing, empty, or not readable with these rights."""


class NoInputError(InputError):
    """Nothing to label is there: a night may have none."""


class LeftOutError(InputError):
    """Objects are there, and none of them is input: a night that was delivered otherwise is not an empty one."""


class TableError(InputError):
    """The files belong to a Delta, Iceberg or Hudi table: some may hold rows that the table has no more."""


class OutputError(RefusedError):
    """The output cannot be used: overlaps the input, or cannot be written."""


class LimitError(AlbertInferError):
    """A limit on rows, bad files or rejected rows was not held; the work is kept, nothing is published."""

    exit_code = 3


class InfrastructureError(AlbertInferError):
    """Storage or cluster failed; finished units are kept and the same command goes on from them."""

    exit_code = 4


class ObjectMissingError(InfrastructureError):
    """An object that was listed or pinned is not there."""


class ObjectChangedError(InfrastructureError):
    """An object is there, but it is not the one that was pinned."""


class IntegrityError(AlbertInferError):
    """Durable state contradicts the plan; nothing was published and nothing was deleted."""

    exit_code = 5


class SupersededError(AlbertInferError):
    """Another plan is published at this output, or was published while this one ran."""

    exit_code = 6


class AtWorkError(AlbertInferError):
    """A job is at work on the same nights; nothing was submitted."""

    exit_code = 6
