"""Turns an error of cyclopts into one line and a remedy."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any, TypeGuard

from cyclopts import MissingArgumentError, RepeatArgumentError, UnknownOptionError, UnusedCliTokensError
from pydantic import BaseModel, ValidationError

from albert_infer.common.printable import one_line
from albert_infer.config.groups import Mark, flag_of, marked

# Flags for a dry run in other programs.
DRY_RUN = frozenset({"--dry-run", "--dryrun", "--no-act", "--what-if", "-n"})


def problem(error: Exception, settings: type[BaseModel]) -> str:
    """One line of the error, without links to documentation."""
    cause, unknown = error.__cause__, _unknown_flag(error)
    if unknown in DRY_RUN:
        return f"{unknown} is not a setting"  # cyclopts would suggest another flag
    # The required flag is missing because it is mistyped.
    if unknown is not None and _is_missing(error):
        return f"{unknown} is not a setting{_guess(unknown, settings)}"
    if _is_missing(error) and error.unused_tokens:
        return f"{error.unused_tokens[0]} has no flag before it, and {_name(error)} is missing"
    if _is_missing(error) and not isinstance(cause, ValidationError):
        return f"{_name(error)} is missing"
    if isinstance(cause, ValidationError):
        return "; ".join(f"{_prefix(entry, settings)}{_message(entry)}" for entry in cause.errors())
    if isinstance(error, RecursionError):
        return "a value is nested too deeply"
    return one_line(error)


def _unknown_flag(error: Exception) -> str | None:
    """The first flag of the command line that does not exist."""
    if isinstance(error, UnknownOptionError):
        return error.token.keyword
    unused = error.unused_tokens or [] if _is_missing(error) else []
    return next((word.partition("=")[0] for word in unused if word.startswith("-")), None)


def _is_missing(error: Exception) -> TypeGuard[MissingArgumentError]:
    """Whether a required setting is missing, not only its value."""
    return isinstance(error, MissingArgumentError) and error.argument is not None and error.keyword is None


def _name(error: MissingArgumentError) -> str:
    return error.argument.name if error.argument is not None else ""


def _guess(unknown: str, settings: type[BaseModel]) -> str:
    """The question whether a similar flag was meant; empty without one."""
    flags = [flag_of(name) for name in settings.model_fields if name not in marked(settings, Mark.NO_FLAG)]
    return "".join(f"; did you mean {flag}?" for flag in get_close_matches(unknown, flags, n=1))


def remedy(error: Exception, settings: type[BaseModel]) -> str | None:
    """What to do about a common mistake; None for other mistakes."""
    if _unknown_flag(error) in DRY_RUN:
        return _dry_run_of(settings)
    again = isinstance(error, RepeatArgumentError) and error.token.keyword in {"--input", "--input-root"}
    if again or (isinstance(error, UnusedCliTokensError) and "input" in settings.model_fields):
        return "give each flag one value; for several inputs give the folder that holds all, without `*`"
    if _is_missing(error) and error.unused_tokens and _unknown_flag(error) is None:
        return f"if this is the value of {_name(error)}, write {_name(error)} {error.unused_tokens[0]}"
    return None


def _dry_run_of(settings: type[BaseModel]) -> str:
    """What to do instead of a dry run of the job with these settings."""
    if "dry_run" in settings.model_fields:
        return "give --dry-run"
    if "price_per_hour" in settings.model_fields:
        return "leave it out: a plan writes nothing"
    if "max_rows" in settings.model_fields:
        return "albert-infer plan shows what one night will take: give it the night's --input and --output"
    if "delete" in settings.model_fields:
        return "leave it out: without --delete nothing is removed"
    return "there is no dry run of this job; leave it out"


def _message(entry: Any) -> str:
    return "is missing" if entry["type"] == "missing" else str(entry["msg"].removeprefix("Value error, "))


def _prefix(entry: Any, settings: type[BaseModel]) -> str:
    """The flag of the setting, or its name if it has no flag, and a space."""
    without_flag = marked(settings, Mark.NO_FLAG)
    names = [str(part) for part in entry["loc"][:1]]
    return "".join(f"{name if name in without_flag else flag_of(name)} " for name in names)
