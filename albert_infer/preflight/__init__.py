"""The checks before the bulk of the work, on one worker that has loaded the engine.

`checks` runs them in turn: the `sample` to check, the `numbers` of the engine, the `label_probe`, the columns (`swap`),
the `agreement` of a precision with fp32, and the `gate` of gold pairs, which `gold` reads. Imports no Ray, and torch
only when a check runs.
"""
