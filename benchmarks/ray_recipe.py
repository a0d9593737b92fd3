"""Batch inference as Ray's documentation writes it, as a program of its own so that its start-up counts.

After "Working with Text" and "End-to-end: Offline Batch Inference" on docs.ray.io: a class that loads a Hugging Face
pipeline, between `read_parquet` and `write_parquet`. Shares nothing with `albert_infer`.

    python -m benchmarks.ray_recipe --input FOLDER --output FOLDER --model FOLDER
"""

from __future__ import annotations

import argparse
import os
from typing import Any, Final

import ray

BATCH_PAIRS: Final = 32


class TextPairClassifier:
    """Loads the pipeline once for each actor and labels the batches that it is given."""

    def __init__(self, model: str) -> None:
        # Imported here, in the actor: the driver has no use for it.
        import torch
        from transformers import pipeline

        self.classify = pipeline(
            "text-classification", model=model, device="cpu", dtype=torch.float32, batch_size=BATCH_PAIRS
        )

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """`batch` with the columns `label` and `score`."""
        texts = zip(batch["premise"], batch["hypothesis"], strict=True)
        answers = self.classify([{"text": str(premise), "text_pair": str(hypothesis)} for premise, hypothesis in texts])
        batch["label"] = [answer["label"] for answer in answers]
        batch["score"] = [answer["score"] for answer in answers]
        return batch


def main() -> None:
    """Label `--input` into `--output`."""
    parser = argparse.ArgumentParser(description="Ray's documented batch inference, as a peer of the benchmark.")
    for flag in ("--input", "--output", "--model"):
        parser.add_argument(flag, required=True)
    given = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    (
        ray.data.read_parquet(given.input)
        .map_batches(
            TextPairClassifier,
            fn_constructor_args=(given.model,),
            batch_size=BATCH_PAIRS,
            # One actor of one thread for each core. With a whole logical CPU each, none is left for the read task and
            # the recipe waits forever (seen on 2 cores with Ray 2.60).
            num_cpus=(cores - 1) / cores or 0.5,
            compute=ray.data.ActorPoolStrategy(size=cores),
        )
        .write_parquet(given.output)
    )


if __name__ == "__main__":
    main()
