"""The checks before bulk work: one engine load on one worker, one section of the report, whatever is checked.

Knows nothing of Ray; needs torch when called.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from albert_infer.classify.classification import Classifier
from albert_infer.model.checkpoint import Checkpoint
from albert_infer.preflight import agreement, gate, label_probe, numbers, swap
from albert_infer.preflight.agreement import Agreement
from albert_infer.preflight.gate import Gold
from albert_infer.preflight.gold import GoldSet
from albert_infer.preflight.label_probe import Probe
from albert_infer.preflight.numbers import Numbers
from albert_infer.preflight.sample import SampledUnit, pairs_of
from albert_infer.preflight.swap import Swap
from albert_infer.prepare.tokenization import PairTokenizer
from albert_infer.schema import DeviceKind, Precision


@dataclass(frozen=True)
class Checks:
    """What a run wants checked, and how it is going to label.

    `compared` says whether labels of the sample are held against those of fp32, `require_probe` whether the label order
    must be seen to be right.
    """

    tokenizer: PairTokenizer
    precision: Precision
    max_batch_tokens: int
    compared: bool
    require_probe: bool = False
    review_below: float | None = None
    gold: GoldSet | None = None


@dataclass(frozen=True)
class Preflight:
    """What was found, check by check, and on what.

    `fused` says whether the worker could compile what makes bf16 and int8 fast on a CPU. `gold` is None without a gold
    set, `agreement` where nothing was compared, and where no pair of the sample has a label.
    """

    precision: Precision
    device: DeviceKind
    fused: bool
    numbers: Numbers
    probe: Probe
    gold: Gold | None
    agreement: Agreement | None
    swap: Swap

    @property
    def is_slow(self) -> bool:
        """Whether a CPU computes in a precision for which it lacks the compiled kernels."""
        return self.device is DeviceKind.CPU and self.precision is not Precision.FP32 and not self.fused

    def lines(self) -> dict[str, str]:
        """A line for a person on each check, by its name."""
        lines = {"arithmetic": self.numbers.to_text(), "label check": self.probe.to_text()}
        if self.is_slow:
            why = "the workers have no C++ compiler, or the checkpoint's shape has no such kernels"
            lines["slow"] = f"{self.precision} without compiled kernels takes two to three times as long; {why}"
        if self.gold is not None:
            lines["gold"] = self.gold.to_text()
        if self.agreement is not None:
            lines["agreement"] = self.agreement.to_text(self.precision)
        if self.swap.suspected:
            lines["columns"] = f"warning: {self.swap.warning()}"
        return lines


def checked(
    checkpoint: Checkpoint, *sample: SampledUnit, checks: Checks, device: DeviceKind, threads: int | None
) -> Preflight:
    """Load the checkpoint as a classify actor does and check what it computes, of pairs of ours and of the `sample`.

    Raises ModelError for a checkpoint that no run must begin with, and InputError for a gold set that cannot be read.
    Limits on what was found are the caller's.
    """
    # Imported here, because the driver has no use for torch and it takes seconds to load.
    from albert_infer.engine.devices import usable_device

    def loaded(precision: Precision, device: DeviceKind) -> Classifier:
        return Classifier.load(
            checkpoint,
            precision=precision,
            device=device,
            threads=threads or os.cpu_count(),
            max_batch_tokens=checks.max_batch_tokens,
            review_below=checks.review_below,
        )

    device = usable_device(device)
    classifier = loaded(checks.precision, device)
    exact = classifier if checks.precision is Precision.FP32 else loaded(Precision.FP32, device)
    # A GPU is held against the CPU, so that a broken one is seen.
    reference = exact if device is DeviceKind.CPU else loaded(Precision.FP32, DeviceKind.CPU)
    found_numbers = numbers.measured(
        checkpoint, classifier.engine, reference.engine, max_length=checks.tokenizer.max_length, device=device
    )
    # Before gold set and sample, which may take minutes.
    found_probe = label_probe.measured(checkpoint, classifier)
    label_probe.refuse_wrong_order(checkpoint, found_probe, required=checks.require_probe)
    pairs = pairs_of(sample)
    return Preflight(
        precision=checks.precision,
        device=device,
        fused=classifier.engine.fused,
        numbers=found_numbers,
        probe=found_probe,
        gold=gate.measured(classifier, checks.tokenizer, checks.gold) if checks.gold is not None else None,
        agreement=agreement.measured(classifier, exact, pairs) if checks.compared else None,
        swap=swap.measured(classifier, (unit.texts for unit in sample), pairs),
    )


def refuse_limits(found: Preflight, *, min_agreement: float, min_accuracy: float | None) -> None:
    """Raises LimitError where too few labels of the sample are those of fp32, or of the gold set the gold ones."""
    agreement.refuse_disagreement(found.agreement, found.precision, min_agreement)
    gate.refuse_inaccuracy(found.gold, min_accuracy)
