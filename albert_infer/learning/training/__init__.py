"""Fine-tunes a checkpoint with Ray Train.

`finetuning` runs a training from its settings. `sources` reads pairs and checkpoints, `pairs` tokenizes the pairs,
`start` makes the model. `task` has the task of a training worker, and `worker` its loop, with `learner`, `losses` and
`batches`. `board` shows the progress. `record` has the types of `metrics.json`; `card`, `curve` and `summary` describe
the result.
"""
