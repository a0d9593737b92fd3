"""The exceptions of the package, each with its exit code.

    AlbertInferError
    ├── RefusedError         2  refused to start; nothing was written
    │   ├── SettingsError       a flag, variable or config key
    │   ├── ModelError          the checkpoint or its tokenizer
    │   ├── InputError          the input as a whole (a single bad file is quarantined instead)
    │   │   ├── NoInputError        the input is empty; a night may be empty
    │   │   ├── LeftOutError        the input has objects, but the rules leave out all of them
    │   │   └── TableError          the files belong to a table format, and only its log names the valid ones
    │   └── OutputError         the output location
    ├── LimitError           3  a limit was exceeded; nothing was published
    ├── InfrastructureError  4  storage or cluster failed; the same command resumes the run
    │   ├── DeviceError         a planned GPU cannot be used
    │   ├── ObjectMissingError  an expected object is gone
    │   └── ObjectChangedError  an object is not the one that was pinned
    ├── IntegrityError       5  durable state contradicts the plan; a person must look
    ├── SupersededError      6  another plan is published at this output
    └── AtWorkError          6  another job is working on the same nights

A bad row raises none of these: the row is rejected (`schema.Rejection`).
"""

from __future__ import annotations

from typing import ClassVar


class AlbertInferError(Exception):
    """An error that the operator must read: what was asked for, the problem, and what to do.

    The three parts are the exception's `args`, so that Ray can pickle the exception.
    """

    exit_code: ClassVar[int]

    def __init__(self, asked: str, problem: str, remedy: str) -> None:
        super().__init__(asked, problem, remedy)
        self.asked = asked
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.asked}: {self.problem}; {self.remedy}"


class RefusedError(AlbertInferError):
    """The job refused to start; nothing was written."""

    exit_code = 2


class SettingsError(RefusedError):
    """A setting is unknown or malformed, or contradicts another setting."""


class ModelError(RefusedError):
    """The checkpoint is missing, unsafe, damaged, or not an NLI ALBERT with three or two labels."""


class InputError(RefusedError):
    """The input as a whole is missing, empty, or not readable with these rights."""


class NoInputError(InputError):
    """The input is empty; a night may be empty."""


class LeftOutError(InputError):
    """The input has objects, and none of them is an input file. Such a night is not empty: its delivery is wrong."""


class TableError(InputError):
    """The files belong to a Delta, Iceberg or Hudi table; some may hold rows that were deleted from the table."""


class OutputError(RefusedError):
    """The output overlaps the input, or cannot be written."""


class LimitError(AlbertInferError):
    """A limit on rows, bad files or rejected rows was exceeded; finished units stay, nothing is published."""

    exit_code = 3


class InfrastructureError(AlbertInferError):
    """Storage or cluster failed; finished units stay, and the same command resumes the run."""

    exit_code = 4


class DeviceError(InfrastructureError):
    """A GPU that was planned cannot be used, or does not compute in the run's precision."""


class ObjectMissingError(InfrastructureError):
    """An object that was listed or pinned is not there."""


class ObjectChangedError(InfrastructureError):
    """An object is not the one that was pinned."""


class IntegrityError(AlbertInferError):
    """Durable state contradicts the plan; nothing was published and nothing was deleted."""

    exit_code = 5


class SupersededError(AlbertInferError):
    """Another plan is published at this output, or was published during this run."""

    exit_code = 6


class AtWorkError(AlbertInferError):
    """Another job is working on the same nights; nothing was submitted."""

    exit_code = 6
