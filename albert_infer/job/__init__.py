"""One start of the labelling job, from settings to an exit code: `run` has the steps, `command` the command line.

`access` has the access settings of the input and the output. `computing` decides the precision and makes the plan.
`report` has the results of a run.
"""
