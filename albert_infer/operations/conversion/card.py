"""The model card of a converted checkpoint: the origin of its files, and the checks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

CARD: Final = """---
library_name: transformers
tags: [albert]
---

# {source}, converted

Made by `albert-infer convert` {version} from `{source}`. The weights are the same numbers.

| | |
|---|---|
{facts}

Its licence and its limits are those of `{source}`: look there before it is given to others.

Bytes that it was made from:

| file | sha256 |
|---|---|
{digests}
"""


def model_card(source: str, version: str, facts: Mapping[str, str], digests: Mapping[str, str]) -> str:
    """The card as Markdown, with the `facts` of the conversion and the `digests` of the source files."""
    return CARD.format(source=source, version=version, facts=_rows(facts), digests=_rows(digests))


def _rows(cells: Mapping[str, str]) -> str:
    return "\n".join(f"| {name} | {value} |" for name, value in cells.items())
