"""Runs the units of a run: `executor` has the interface, `labelling` runs on Ray, `inline` runs in this process.

`unit` has the steps of a unit. On Ray, `connecting` opens a session, `checks` checks on one worker, and `stages` has
the three stages of Ray Data. The first stage is in `reader`. `board` and `attempts` count. `cards` reads the GPU of a
worker, and `loading` loads a checkpoint on it. `turns` and `lost_devices` say how calls share an actor, and when an
actor ends; `exits` ends a process that hangs at its exit. `progress`, `metrics` and `resources` do not import Ray.
"""
