"""Maps the outputs of a classifier to labels. Reads only config.json."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from albert_infer.common.printable import how_many
from albert_infer.errors import ModelError
from albert_infer.schema import LABEL_SETS, THREE_LABELS, TWO_LABELS, BinaryLabel, Label, LabelSet, NliLabel

# Names of the labels in checkpoints, in lower case without spaces, hyphens and underscores.
SYNONYMS: Final[Mapping[str, Label]] = {
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
    "notentailment": BinaryLabel.NOT_ENTAILMENT,
    "nonentailment": BinaryLabel.NOT_ENTAILMENT,
    "noentailment": BinaryLabel.NOT_ENTAILMENT,
    "notentailed": BinaryLabel.NOT_ENTAILMENT,
    "unsupported": BinaryLabel.NOT_ENTAILMENT,
    "notsupported": BinaryLabel.NOT_ENTAILMENT,
}
# The orders of public ALBERT NLI checkpoints. A wrong order gives an accuracy of 5 to 7 %, without an error.
KNOWN_ORDERS: Final[Mapping[LabelSet, tuple[str, ...]]] = {
    THREE_LABELS: (
        "entailment,neutral,contradiction (GLUE, SNLI and most)",
        "contradiction,entailment,neutral (trained by old run_glue.py)",
        "entailment,contradiction,neutral (VitaminC: SUPPORTS, REFUTES, NOT ENOUGH INFO)",
    ),
    TWO_LABELS: (
        "entailment,not_entailment (GLUE: QNLI, RTE)",
        "not_entailment,entailment (grounding models, where 1 means supported)",
    ),
}
# What `problem_type` of a config.json may be with two outputs: of other types, the softmax is not the probability.
ONE_LABEL_PER_PAIR: Final = (None, "single_label_classification")

_COUNTS: Final = {THREE_LABELS: "three", TWO_LABELS: "two"}


def label_order_of(config: Mapping[str, object], given: Sequence[str], source: str) -> LabelSet:
    """The label of each output of the classifier: the `given` order, else the names in `config`.

    A given order overrides the names, because names may be wrong, and users cannot edit a hub's files. Raises
    ModelError that names the `source` if there is neither.
    """
    named = named_order(config, source)
    names = _output_names(config, source)
    labels = LABEL_SETS[len(names)]
    if given and sorted(given) != sorted(labels):
        problem = f"it is not an order of the {_COUNTS[labels]} labels of model {source}"
        raise ModelError(f"--label-order {','.join(given)}", problem, f"give each of {', '.join(labels)} once")
    if given:
        return ordered(given, labels)
    if named is None:
        raise ModelError(f"model {source}", f"its labels have the names {names!r:.200}", _say_which(labels))
    return named


def ordered(names: Sequence[str], labels: LabelSet) -> LabelSet:
    """The labels of a set in the order of their names."""
    return tuple(labels[labels.index(name)] for name in names)


def _say_which(labels: LabelSet) -> str:
    return f"name the labels with --label-order; known: {'; '.join(KNOWN_ORDERS[labels])}"


def with_outputs(config: Mapping[str, object], outputs: int, source: str, *, given: bool) -> Mapping[str, object]:
    """`config` as transformers reads it for weights with `outputs` outputs. Missing names become LABEL_0 and so on.

    Raises ModelError if two or three outputs have more or fewer names, unless an order was `given`.
    """
    names = config.get("id2label") or {}
    if outputs not in LABEL_SETS or not isinstance(names, dict) or len(names) == outputs:
        return config
    if names and not given:
        problem = f"config.json names {len(names):,} labels {list(names.values())!r:.200} for {outputs} outputs"
        raise ModelError(f"model {source}", problem, _say_which(LABEL_SETS[outputs]))
    return {**config, "id2label": {str(number): f"LABEL_{number}" for number in range(outputs)}}


def named_order(config: Mapping[str, object], source: str) -> LabelSet | None:
    """The label of each output by the names in `config`; None if they do not name each label once.

    Raises ModelError unless there are two or three outputs.
    """
    names = _output_names(config, source)
    labels = LABEL_SETS[len(names)]
    known = [label for name in names if (label := label_called(name)) is not None]
    return ordered(known, labels) if sorted(known) == sorted(labels) else None


def label_called(name: str) -> Label | None:
    """The label with this name or synonym, in any case; None for other names."""
    return SYNONYMS.get(re.sub(r"[\s_-]", "", name.lower()))


def _output_names(config: Mapping[str, object], source: str) -> list[str]:
    """The name of each output of the classifier, in order."""
    id2label = config.get("id2label") or {}
    if not isinstance(id2label, dict):
        problem = f"config.json id2label is {id2label!r:.100}"
        raise ModelError(f"model {source}", problem, "use a checkpoint with a name for each label")
    if len(id2label) not in LABEL_SETS:
        # Truncated, because there may be any number of labels.
        problem = f"{how_many(len(id2label), 'label')} {list(id2label.values())!r:.200}"
        if len(id2label) == 1:
            problem += ": its one output is a score"
        remedy = "use a checkpoint with three NLI labels, or with two: entailment and not_entailment"
        raise ModelError(f"model {source}", problem, remedy)
    if len(id2label) == len(TWO_LABELS) and (kind := config.get("problem_type")) not in ONE_LABEL_PER_PAIR:
        problem = f"config.json problem_type is {kind!r:.100}: its two outputs are not the labels of one classifier"
        raise ModelError(f"model {source}", problem, "use a checkpoint that gives each pair one of its labels")
    numbers = [str(number) for number in range(len(id2label))]
    if sorted(id2label) != numbers:
        problem = f"config.json id2label numbers its labels {sorted(id2label)!r:.200}"
        raise ModelError(f"model {source}", problem, f"number them {', '.join(numbers)}")
    return [str(id2label[number]) for number in numbers]
