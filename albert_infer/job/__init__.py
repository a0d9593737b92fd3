"""One start of the labelling job, from settings to an exit code: `run` is the way, `command` its command line.

`places` opens the input and the output; `report` writes what a run did.
"""
