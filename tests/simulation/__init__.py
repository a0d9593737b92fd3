"""Deterministic simulation of the publish protocol: real drivers, a simulated store, one seed for every decision.

`make simulate SEEDS=1000` runs schedules on all cores; `python -m simulation --replay SEED` shows one step by step.
A schedule is a `Scenario` (who takes part, on what kind of store) and a list of decisions (who takes the next step).
"""
