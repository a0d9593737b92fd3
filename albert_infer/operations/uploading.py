"""The code of a submitted job: an uploaded checkout, or the package in the image of the nodes."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from albert_infer import __version__
from albert_infer.errors import SettingsError
from albert_infer.operations.program import PROGRAM, REQUIRE_VERSION

SCRIPT: Final = "jobs/label_nightly.py"
UPLOADED_JOB: Final = ("python", SCRIPT)
# The same job with the package in the image of the nodes; another version refuses to start.
INSTALLED_JOB: Final = (PROGRAM, REQUIRE_VERSION, __version__, "nightly")


def checkout() -> Path | None:
    """The folder with this package and its job scripts; None if the package is installed without the scripts."""
    project = Path(__file__).resolve().parents[2]
    return project if (project / SCRIPT).is_file() else None


def folder_uploaded(package: Literal["upload", "image"] | None, project: Path | None) -> Path | None:
    """The folder to upload with this --package; None if the job uses the package in the image of the nodes."""
    if package == "image":
        return None
    if package == "upload" and project is None:
        remedy = "submit from a checkout, or leave it out: then the image of the nodes must have the package"
        raise SettingsError("--package upload", "this package was installed without its job scripts", remedy)
    return project
