"""`python -m benchmarks.gpu`: everything that one card shows of the engine, in under ten minutes.

`figures` has a figure with its bar, `running` runs the steps and reports them, `bench` makes models, pairs and engines.
`machine_steps`, `kernel_steps`, `numbers`, `speed`, `units` and `rivals` have the steps. Needs torch, transformers,
tokenizers, pyarrow, safetensors and numpy, and sentence-transformers for the rows of `CrossEncoder`. Ray is not needed.
"""
