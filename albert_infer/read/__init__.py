"""From input objects to pairs of texts.

`survey` reads the footers of an input, `planning` cuts it into units, and `decoding` reads the rows of a unit.
"""
