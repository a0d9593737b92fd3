"""Checkpoints.

`checkpoint_files` reads the files, and `checkpoint` verifies them. `hub` downloads, `label_order` maps outputs to
labels, `calibration` is the temperature.
"""
