"""Pickled weights to a safetensors file: a program that `weights` runs in a process of its own.

It is started by its path and imports nothing of this package, so that it needs nothing of the environment.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import safetensors.torch
import torch

TABLES = ("state_dict", "model_state_dict")


def main(target: str, pickles: Sequence[str]) -> str | None:
    """Write the tensors of all `pickles` to `target`; why it cannot be done, or None."""
    tensors: dict[str, torch.Tensor] = {}
    for pickle in pickles:
        try:
            found = torch.load(pickle, map_location="cpu", weights_only=True)
        except Exception as error:  # whatever torch refuses, and whatever else a pickle is that is none
            return f"torch does not load it as weights only ({type(error).__name__})"
        # What Lightning and training loops of one's own put around it.
        inner = next((found[key] for key in TABLES if key in found), found) if isinstance(found, dict) else found
        if not isinstance(inner, dict) or not all(
            isinstance(name, str) and isinstance(tensor, torch.Tensor) for name, tensor in inner.items()
        ):
            held = f", but has {', '.join(map(repr, list(inner)[:5]))}" if isinstance(inner, dict) else ""
            return f"it is no table of tensors by name{held}"
        found = inner
        # Each with memory of its own, as safetensors wants it.
        tensors |= {name: tensor.detach().to_dense().clone().contiguous() for name, tensor in found.items()}
    safetensors.torch.save_file(tensors, target, metadata={"format": "pt"})
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
