"""Evaluates a published run, or a checkpoint on pairs: against gold labels, and against another run or checkpoint.

`work` runs an evaluation from its settings. `rows` is the protocol of a source of labelled rows; `runs` and
`labelled_here` are the two sources. `counting` counts rows in constant memory (`sampling` keeps a bounded number of
them), and `comparison` counts the rows of two sources. `metrics`, `calibration` and `baselines` turn counts into
figures. `document` is the result as JSON, `page` as HTML, `summary` as text. `fitted` writes a calibrated checkpoint.

Importing this package imports no library of the extra `evaluation`.
"""

from __future__ import annotations

from albert_infer.learning.evaluation.evaluating import JSON, evaluate

__all__ = ["JSON", "evaluate"]
