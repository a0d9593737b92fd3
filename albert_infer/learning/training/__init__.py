"""The making of the checkpoint that ships in the package; labelling imports nothing from here.

`pairs` reads and encodes the training pairs, `conversion` turns a BERT into an ALBERT teacher and a teacher into a
smaller student, `distillation` trains either, `builtin` is the recipe and its command.
"""
