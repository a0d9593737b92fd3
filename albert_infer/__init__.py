"""Label millions of sentence pairs with ALBERT natural language inference, on Ray."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from albert_infer.labeler import Labeler

__all__ = ["Labeler"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import `Labeler` at its first use: workers import this package and do not need `Labeler`."""
    if name == "Labeler":
        from albert_infer.labeler import Labeler

        return Labeler
    raise AttributeError(f"module {__name__} has no attribute {name}")
