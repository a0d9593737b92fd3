"""Converts a published checkpoint to a folder for labelling: safetensors, named outputs, one tokenizer.json.

`weights` finds the weights, `unpickled` opens a pickle in a separate process, and `card` writes the model card.
"""

from __future__ import annotations

from albert_infer.operations.conversion.converting import convert

__all__ = ["convert"]
