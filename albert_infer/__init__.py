"""Label millions of sentence pairs with ALBERT natural language inference, on Ray."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from albert_infer.labeler import Labeler
    from albert_infer.pipeline.published import read_labels

__all__ = ["Labeler", "read_labels"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import `Labeler` or `read_labels` at its first use: workers import this package and need neither."""
    if name == "Labeler":
        from albert_infer.labeler import Labeler

        return Labeler
    if name == "read_labels":
        from albert_infer.pipeline.published import read_labels

        return read_labels
    raise AttributeError(f"module {__name__} has no attribute {name}")
