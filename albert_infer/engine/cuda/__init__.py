"""The layers of a CUDA card.

`fused` has the layers. `passes` says what a layer computes between two products, and has a reference in plain torch.
`kernels` has the same passes as Triton kernels, and `launches` calls these. `fp8` has the products in fp8. `choice`
decides whether a card gets fused layers. Only `kernels` and `launches` import Triton.
"""
