"""`training` makes checkpoints, `evaluation` says how good labels are. Labelling imports nothing from here."""
