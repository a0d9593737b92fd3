"""Converts pickled weights to a safetensors file. `weights` runs this program in a separate process.

The program is started by its path and imports nothing from this package, so it needs no environment variables.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import safetensors.torch
import torch

TABLES = ("state_dict", "model_state_dict")


def main(target: str, pickles: Sequence[str]) -> str | None:
    """Write the tensors of all `pickles` to `target`; return the reason of a failure, or None."""
    tensors: dict[str, torch.Tensor] = {}
    for pickle in pickles:
        try:
            loaded = torch.load(pickle, map_location="cpu", weights_only=True)
        except Exception as error:  # torch refuses the pickle, or the file is no pickle
            return f"torch does not load it as weights only ({type(error).__name__})"
        # Lightning and other training loops put a table around the tensors.
        table = next((loaded[key] for key in TABLES if key in loaded), loaded) if isinstance(loaded, dict) else loaded
        if not isinstance(table, dict) or not all(
            isinstance(name, str) and isinstance(tensor, torch.Tensor) for name, tensor in table.items()
        ):
            keys = f", but has {', '.join(map(repr, list(table)[:5]))}" if isinstance(table, dict) else ""
            return f"it is no table of tensors by name{keys}"
        # safetensors wants separate memory for each tensor.
        tensors |= {name: tensor.detach().to_dense().clone().contiguous() for name, tensor in table.items()}
    safetensors.torch.save_file(tensors, target, metadata={"format": "pt"})
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
