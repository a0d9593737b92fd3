"""`training` trains checkpoints, `evaluation` measures the quality of labels. Labelling imports nothing from here."""
