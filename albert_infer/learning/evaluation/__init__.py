"""How good labels are: a published run, or a checkpoint on pairs, against gold labels, and against another one.

`work` goes from settings to an evaluation. `rows` says what a source of labelled rows gives; `runs` and `labelled_here`
are the two sources. `counting` keeps what figures need, in memory that does not grow with the rows (`sampling` a
bounded number of them), and `comparison` what two sources need; `metrics`, `calibration` and `baselines` make figures
of it. `document` is the whole as JSON, `page` as HTML, `summary` as text; `fitted` copies a calibrated checkpoint.

Importing this package imports none of the libraries that only the extra `evaluation` brings.
"""

from __future__ import annotations

from albert_infer.learning.evaluation.evaluating import JSON, evaluate

__all__ = ["JSON", "evaluate"]
