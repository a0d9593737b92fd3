"""The versions of Python and of the packages that decide how a run behaves."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import Final

PACKAGES: Final = ("albert-infer", "ray", "torch", "transformers", "tokenizers", "pyarrow", "s3fs")


def installed_versions() -> dict[str, str]:
    """The versions of Python and of the packages that a run depends on."""
    return {"python": platform.python_version(), **{package: version(package) for package in PACKAGES}}
