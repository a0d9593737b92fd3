"""The layers on a CUDA card: `fused` layers, whose passes between two products are Triton kernels.

`passes` names the passes and has each in plain torch; `kernels` has them for Triton, `launches` calls those; `fp8`
multiplies in eight bits. Only `kernels` and `launches` import Triton.
"""
