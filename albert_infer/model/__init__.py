"""What belongs to a checkpoint.

`checkpoint_files` reads its files, and `checkpoint` verifies them. `hub` downloads, `label_order` says which output is
which label, `calibration` is the temperature.
"""
