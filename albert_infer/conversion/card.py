"""The model card of a converted checkpoint: where its files came from, and what was checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

CARD: Final = """---
library_name: transformers
pipeline_tag: text-classification
tags: [natural-language-inference, albert]
---

# {source}, converted

Made by `jobs/convert_checkpoint.py` of albert-infer {version} from `{source}`. The weights are the same numbers.

| | |
|---|---|
| weights | {origin} |
| tokenizer | {tokenizer} |
| outputs 0, 1, 2 | {labels}, {by} |
| label probe | {probe} |

Its licence and its limits are those of `{source}`: look there before it is given to others.

Bytes that it was made from:

| file | sha256 |
|---|---|
{digests}
"""


def model_card(
    source: str, *, version: str, origin: str, tokenizer: str, labels: Sequence[str], by: str, probe: str,
    digests: Mapping[str, str],
) -> str:  # fmt: skip
    """The card, as Markdown."""
    rows = "\n".join(f"| {name} | `{digest}` |" for name, digest in digests.items())
    return CARD.format(
        source=source, version=version, origin=origin, tokenizer=tokenizer, labels=", ".join(labels), by=by,
        probe=probe, digests=rows,
    )  # fmt: skip
