"""Maps the outputs of a classifier to labels. Reads only config.json."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from albert_infer.common.printable import how_many
from albert_infer.errors import ModelError
from albert_infer.schema import NliLabel

# Names of the three labels in checkpoints, in lower case without spaces, hyphens and underscores.
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
# The orders of public ALBERT NLI checkpoints. A wrong order gives an accuracy of 5 to 7 %, without an error.
KNOWN_ORDERS: Final = (
    "entailment,neutral,contradiction (GLUE, SNLI and most)",
    "contradiction,entailment,neutral (trained by old run_glue.py)",
    "entailment,contradiction,neutral (VitaminC: SUPPORTS, REFUTES, NOT ENOUGH INFO)",
)
SAY_WHICH: Final = f"name the labels with --label-order; known: {'; '.join(KNOWN_ORDERS)}"


def label_order_of(config: Mapping[str, object], given: Sequence[str], source: str) -> tuple[NliLabel, ...]:
    """The label of each output of the classifier: the `given` order, else the names in `config`.

    A given order overrides the names, because names may be wrong, and users cannot edit a hub's files. Raises
    ModelError that names the `source` if there is neither.
    """
    named = named_order(config, source)
    if given and sorted(given) != sorted(NliLabel):
        remedy = "give each of entailment, neutral, contradiction once"
        raise ModelError(f"--label-order {','.join(given)}", "it is not an order of the three labels", remedy)
    if given:
        return tuple(NliLabel(name) for name in given)
    if named is None:
        problem = f"its labels have the names {_output_names(config, source)!r:.200}"
        raise ModelError(f"model {source}", problem, SAY_WHICH)
    return named


def with_outputs(config: Mapping[str, object], outputs: int, source: str, *, given: bool) -> Mapping[str, object]:
    """`config` as transformers reads it for weights with `outputs` outputs. Missing names become LABEL_0 and so on.

    Raises ModelError if three outputs have more or fewer names, unless an order was `given`.
    """
    names = config.get("id2label") or {}
    if outputs != len(NliLabel) or not isinstance(names, dict) or len(names) == outputs:
        return config
    if names and not given:
        problem = f"config.json names {len(names):,} labels {list(names.values())!r:.200} for {outputs} outputs"
        raise ModelError(f"model {source}", problem, SAY_WHICH)
    return {**config, "id2label": {str(number): f"LABEL_{number}" for number in range(outputs)}}


def named_order(config: Mapping[str, object], source: str) -> tuple[NliLabel, ...] | None:
    """The label of each output by the names in `config`; None if they do not name the three labels.

    Raises ModelError unless there are three outputs.
    """
    known = [label_called(name) for name in _output_names(config, source)]
    order = tuple(label for label in known if label is not None)
    return order if len(set(order)) == len(NliLabel) else None


def label_called(name: str) -> NliLabel | None:
    """The label with this name or synonym, in any case; None for other names."""
    return SYNONYMS.get(re.sub(r"[\s_-]", "", name.lower()))


def _output_names(config: Mapping[str, object], source: str) -> list[str]:
    """The name of each output of the classifier, in order."""
    id2label = config.get("id2label") or {}
    if not isinstance(id2label, dict):
        problem = f"config.json id2label is {id2label!r:.100}"
        raise ModelError(f"model {source}", problem, "use a checkpoint with a name for each label")
    if len(id2label) != len(NliLabel):
        # Truncated, because there may be any number of labels.
        problem = f"{how_many(len(id2label), 'label')} {list(id2label.values())!r:.200}"
        raise ModelError(f"model {source}", problem, "use a checkpoint with three NLI labels")
    numbers = [str(number) for number in range(len(id2label))]
    if sorted(id2label) != numbers:
        problem = f"config.json id2label numbers its labels {sorted(id2label)!r:.200}"
        raise ModelError(f"model {source}", problem, f"number them {', '.join(numbers)}")
    return [str(id2label[number]) for number in numbers]
