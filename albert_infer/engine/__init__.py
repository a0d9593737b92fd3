"""The packed ALBERT forward pass.

`shape` says whether a config.json can be run, `tensors` whether weights fit it; both import no torch, so that a driver
can ask early. `packing` lays the tokens of a micro-batch end to end; `weights` reads the tensors; `albert` is the
forward pass. Its layers are `plain` torch with the `attention` that suits the device, or `fused` for processors with
bf16 or int8 products, by the `kernels` that `compilation` makes; `threads` runs several passes at once; `memory` halves
what the device has no memory for. Importing this package imports none of the heavy ones.
"""

from albert_infer.engine.shape import AlbertShape

__all__ = ["AlbertShape"]
