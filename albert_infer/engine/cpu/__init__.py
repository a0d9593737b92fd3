"""The layers on a processor: `fused` layers, by the `kernels` that `compilation` makes, and `int8` products.

`threads` runs several passes at once.
"""
