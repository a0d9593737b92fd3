"""Which output of a checkpoint's classifier means which label. Knows of a checkpoint its config.json alone."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from albert_infer.common.printable import how_many
from albert_infer.errors import ModelError
from albert_infer.schema import NliLabel

# Names that checkpoints give to our labels, compared in lower case without spaces, hyphens and underscores.
SYNONYMS: Final = {
    "entailment": NliLabel.ENTAILMENT,
    "entail": NliLabel.ENTAILMENT,
    "entails": NliLabel.ENTAILMENT,
    "entailed": NliLabel.ENTAILMENT,
    "supports": NliLabel.ENTAILMENT,
    "supported": NliLabel.ENTAILMENT,
    "neutral": NliLabel.NEUTRAL,
    "notenoughinfo": NliLabel.NEUTRAL,
    "notenoughinformation": NliLabel.NEUTRAL,
    "nei": NliLabel.NEUTRAL,
    "unknown": NliLabel.NEUTRAL,
    "contradiction": NliLabel.CONTRADICTION,
    "contradict": NliLabel.CONTRADICTION,
    "contradicts": NliLabel.CONTRADICTION,
    "contradictory": NliLabel.CONTRADICTION,
    "refutes": NliLabel.CONTRADICTION,
    "refuted": NliLabel.CONTRADICTION,
}
# The orders in use among public ALBERT NLI checkpoints; a wrong one gives 5-7 % accuracy without any error.
KNOWN_ORDERS: Final = (
    "entailment,neutral,contradiction (GLUE, SNLI and most)",
    "contradiction,entailment,neutral (trained by old run_glue.py)",
    "entailment,contradiction,neutral (VitaminC: SUPPORTS, REFUTES, NOT ENOUGH INFO)",
)
SAY_WHICH: Final = f"say which is which with --label-order; known: {'; '.join(KNOWN_ORDERS)}"


def label_order_of(config: Mapping[str, object], given: Sequence[str], source: str) -> tuple[NliLabel, ...]:
    """The label of each output of the classifier: `given`, else what `config` calls them.

    Whoever gives an order knows better than the checkpoint: names may be wrong, and a hub's files cannot be mended.
    Raises ModelError, which names the `source`, where neither says it.
    """
    named = named_order(config, source)
    if given and sorted(given) != sorted(NliLabel):
        remedy = "give each of entailment, neutral, contradiction once"
        raise ModelError(f"--label-order {','.join(given)}", "it is no order of the three labels", remedy)
    if given:
        return tuple(NliLabel(name) for name in given)
    if named is None:
        found = f"its labels are called {_output_names(config, source)!r:.200}"
        raise ModelError(f"model {source}", found, SAY_WHICH)
    return named


def with_outputs(config: Mapping[str, object], outputs: int, source: str, *, given: bool) -> Mapping[str, object]:
    """`config` as transformers has it for weights of so many `outputs`; without names they are LABEL_0 and so on.

    More or fewer names than three outputs mean nothing: raises ModelError unless an order was `given`.
    """
    names = config.get("id2label") or {}
    if outputs != len(NliLabel) or not isinstance(names, dict) or len(names) == outputs:
        return config
    if names and not given:
        found = f"config.json names {len(names):,} labels {list(names.values())!r:.200} for {outputs} outputs"
        raise ModelError(f"model {source}", found, SAY_WHICH)
    return {**config, "id2label": {str(number): f"LABEL_{number}" for number in range(outputs)}}


def named_order(config: Mapping[str, object], source: str) -> tuple[NliLabel, ...] | None:
    """What `config` itself says of the outputs; None where its names mean nothing.

    Raises ModelError for other than three outputs.
    """
    known = [label_called(name) for name in _output_names(config, source)]
    order = tuple(label for label in known if label is not None)
    return order if len(set(order)) == len(NliLabel) else None


def label_called(name: str) -> NliLabel | None:
    """The label that has this name, in any case, or a synonym of it."""
    return SYNONYMS.get(re.sub(r"[\s_-]", "", name.lower()))


def _output_names(config: Mapping[str, object], source: str) -> list[str]:
    """What the checkpoint calls each output of its classifier, in the order of the outputs."""
    id2label = config.get("id2label") or {}
    if not isinstance(id2label, dict):
        found = f"config.json id2label is {id2label!r:.100}"
        raise ModelError(f"model {source}", found, "use a checkpoint with a name for each label")
    if len(id2label) != len(NliLabel):
        # Cut, as there may be any number of them.
        found = f"{how_many(len(id2label), 'label')} {list(id2label.values())!r:.200}"
        raise ModelError(f"model {source}", found, "use a checkpoint with three NLI labels")
    numbers = [str(number) for number in range(len(id2label))]
    if sorted(id2label) != numbers:
        found = f"config.json id2label numbers its labels {sorted(id2label)!r:.200}"
        raise ModelError(f"model {source}", found, f"number them {', '.join(numbers)}")
    return [str(id2label[number]) for number in numbers]
