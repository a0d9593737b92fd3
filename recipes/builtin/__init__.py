"""The recipe of the built-in checkpoint: `recipe` is its command, `card` the model card that it writes.

`conversion` turns a BERT into an ALBERT teacher and a teacher into a smaller student; `recombination`
makes training pairs.
"""
