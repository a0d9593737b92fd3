"""Run as a program: each line of stdin is one job's argv, and each line of stdout what came of it, as JSON.

In a process of its own, because the hub's client reads its settings when it is imported; one for many jobs, because the
imports take seconds.
"""

from __future__ import annotations

import io
import json
import sys
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

import convert_checkpoint

from albert_infer.errors import AlbertInferError
from albert_infer.model.checkpoint import load_checkpoint


def converted(argv: list[str]) -> dict[str, Any]:
    """The exit code and the output of the job."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = convert_checkpoint.main(argv)
    return {"exit_code": code, "out": out.getvalue(), "err": err.getvalue()}


def loaded(source: str, label_order: list[str]) -> dict[str, Any]:
    """What a labelling job says of a checkpoint."""
    try:
        checkpoint = load_checkpoint(source, label_order=label_order)
    except AlbertInferError as error:
        return {"refused": str(error), "exit_code": error.exit_code}
    return {"digest": checkpoint.digest, "label_order": list(checkpoint.label_order), "files": list(checkpoint.digests)}


if __name__ == "__main__":
    for line in sys.stdin:
        asked = json.loads(line)
        told = loaded(**asked["load"]) if "load" in asked else converted(asked["convert"])
        sys.__stdout__.write(f"{json.dumps(told)}\n")  # type: ignore[union-attr]
