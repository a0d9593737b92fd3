"""From a checkpoint as it was published to a folder for labelling: safetensors, named outputs, one tokenizer.json.

`weights` finds the weights, and `unpickled` opens a pickle in a process of its own; `card` is the model card.
"""

from __future__ import annotations

from albert_infer.operations.conversion.converting import convert

__all__ = ["convert"]
