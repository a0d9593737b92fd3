"""How labels reach readers, exactly once: see `docs/explanation/publishing.md`.

`commit` writes the objects of a unit. `layout` names all objects, `manifest` is `_SUCCESS`, `standing` says what is at
an output. `publication` takes a run to its end, with `sealing` and `publish`.
"""
