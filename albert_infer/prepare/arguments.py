"""Validates the arguments of `Labeler`. The bounds are those of the job's settings; pydantic is not imported."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from numbers import Integral, Real

from albert_infer.errors import SettingsError
from albert_infer.schema import TWO_LABELS, NliLabel, is_label_order


def location(name: str, value: str | os.PathLike[str]) -> str:
    """A path or a name as a string. Raises SettingsError with the argument's name, like all functions here."""
    path = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(path, str):
        raise _refused(name, value, "it is not a text", "give a path or a name")
    return path


def label_order(name: str, value: Sequence[str]) -> tuple[str, ...]:
    """The labels, each once, from a sequence or a comma-separated string. Empty for the checkpoint's own order."""
    parts = [value] if isinstance(value, str) else value
    if isinstance(parts, Sequence) and all(isinstance(part, str) for part in parts):
        labels = tuple(label.strip() for part in parts for label in part.split(",") if label.strip())
        if not labels or is_label_order(labels):
            return labels
    remedy = f"give each of {', '.join(NliLabel)} once; for a checkpoint with two labels {', '.join(TWO_LABELS)}"
    raise _refused(name, value, "it is not an order of the three labels", remedy)


def choice(name: str, value: str, choices: Collection[str]) -> None:
    """Accept one of `choices`."""
    if not isinstance(value, str) or value not in choices:
        raise _refused(name, value, "it is not a known value", f"give one of {', '.join(choices)}")


def whole_number(name: str, value: object, *, least: int) -> None:
    """Accept a whole number of at least `least`, or None."""
    if isinstance(value, bool) or not (value is None or (isinstance(value, Integral) and int(value) >= least)):
        remedy = f"give a whole number of at least {least}, or leave it out"
        raise _refused(name, value, "it is not such a number", remedy)


def share(name: str, value: object) -> None:
    """Accept a number from 0 to 1, or None."""
    if isinstance(value, bool) or not (value is None or (isinstance(value, Real) and 0 <= float(value) <= 1)):
        raise _refused(name, value, "it is not a probability", "give a number from 0 to 1")


def _refused(name: str, value: object, reason: str, remedy: str) -> SettingsError:
    return SettingsError(f"{name}={value!r:.50}", reason, remedy)
