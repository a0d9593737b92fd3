"""Reads input objects into pairs of texts.

`survey` reads the footers of an input, `planning` cuts the input into units, and `decoding` reads the rows of a unit.
"""
