"""What belongs to a checkpoint.

`checkpoint` loads it, `hub` downloads it, `label_order` says which output is which label, `calibration` is its
temperature.
"""
