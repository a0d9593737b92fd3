"""How fast the labelling is, next to what others would use and next to what the processor can do.

`python -m benchmarks` measures speed, `python -m benchmarks.tokenizing` that of a CPU core that feeds a GPU, and
`python -m benchmarks.memory` the peak memory of a whole job. A row's way through here: `checkpoint` and `pairs` make
the work, `peers` and `ours` do it in this process, `whole_jobs` in processes of their own, `rounds` times them in turn,
`limit` says what the processor allows, `table` shows it.
"""
