"""The checks before the run labels, on one worker that has loaded the engine.

`checks` runs them in order: the `numbers` of the engine, the `label_probe`, the `gate` of gold pairs, which `gold`
reads, the `agreement` of a precision with fp32, and the columns (`swap`). `sample` chooses the pairs. Imports no Ray,
and torch only when a check runs.
"""
