"""What runs the units of a run: `executor` says what that takes, `labelling` is Ray, `inline` is this process.

`unit` is what a unit goes through. On Ray, `session` connects, `checks` checks on one worker, `stages` are the three
stages of Ray Data, whose first is the `reader`; `board` and `attempts` count. `progress`, `metrics` and `resources`
import no Ray.
"""
