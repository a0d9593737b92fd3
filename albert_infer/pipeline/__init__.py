"""The three Ray stages: read and prepare a unit, classify it, commit it; and the checks before them.

`labelling` builds the stages, `stages` is what a worker does in each, and `session` connects to Ray. One unit is one
Ray block is one committed object. Ray owns placement, queues and retries; the steps inside a stage are plain functions
of other folders. `progress` and `attempts` import no Ray.
"""
