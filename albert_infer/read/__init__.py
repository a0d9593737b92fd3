"""From input objects to pairs of texts: `planning` cuts the input into units, by the `footers` of its files.

`decoding` reads the rows of a unit; `gold` reads labels that people gave.
"""
