"""The layers on a CPU: `fused` layers, with `kernels` that `compilation` compiles, and `int8` products.

`threads` runs several passes at once.
"""
