"""Commits units, seals a run and publishes it exactly once: see `docs/explanation/publishing.md`.

`commit` writes the objects of a unit. `layout` names all objects. `manifest` defines `_SUCCESS`. `inspection` reports
the state of an output. `publication` runs the protocol, with the steps in `sealing` and `publish`.
"""
