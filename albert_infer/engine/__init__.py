"""The packed ALBERT forward pass.

`shape` checks a config.json, and `tensors` checks weights against it. Neither imports torch, so a driver can check
early. `packing` lays the tokens of a micro-batch end to end, `weights` reads the tensors, `albert` is the forward pass.
Its layers are `plain` torch with the `attention` for the device, or the `fused` layers of `cpu` (bf16 or int8) and of
`cuda` (bf16, fp16 or fp8). `memory` halves micro-batches that do not fit the device's memory, and `faults` says what an
error of a GPU means. `cards` says what a GPU computes in. Importing this package imports no heavy library.
"""

from albert_infer.engine.shape import AlbertShape

__all__ = ["AlbertShape"]
