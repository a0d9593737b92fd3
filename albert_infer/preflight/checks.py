"""Runs the checks before labelling, with one load of the engine, on one worker. They are one section of the report.

Does not use Ray. Needs torch when called.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from albert_infer.classify.classification import Classifier
from albert_infer.engine.processor import cpus_here
from albert_infer.model.checkpoint import Checkpoint
from albert_infer.preflight import agreement, gate, label_probe, numbers, swap
from albert_infer.preflight.agreement import Agreement
from albert_infer.preflight.gate import Gold
from albert_infer.preflight.gold import GoldSet
from albert_infer.preflight.label_probe import Probe
from albert_infer.preflight.numbers import Numbers
from albert_infer.preflight.sample import SampleCounts, SampledUnit, counts_of, pairs_of
from albert_infer.preflight.swap import Swap
from albert_infer.prepare.tokenization import PairTokenizer
from albert_infer.schema import DeviceKind, Precision


@dataclass(frozen=True)
class Checks:
    """The checks of a run, and how the run labels.

    `compared`: compare the labels of the sample with those of fp32. `require_probe`: refuse a checkpoint unless the
    easy pairs confirm its label order.
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
    """The results of the checks, and the device.

    `fused`: the worker compiled the kernels that make all precisions but fp32 fast. `gold` is None without a gold set.
    `agreement` is None without a comparison, or if no pair of the sample has a label.
    `sample` counts the sample itself.
    """

    precision: Precision
    device: DeviceKind
    fused: bool
    numbers: Numbers
    probe: Probe
    gold: Gold | None
    agreement: Agreement | None
    swap: Swap
    sample: SampleCounts = field(default_factory=SampleCounts)

    def lines(self) -> dict[str, str]:
        """One line of text for each check, by its name."""
        lines = {"arithmetic": self.numbers.to_text(), "label check": self.probe.to_text()}
        if self.gold is not None:
            lines["gold"] = self.gold.to_text()
        if self.agreement is not None:
            lines["agreement"] = self.agreement.to_text(self.precision)
        if self.swap.suspected:
            lines["columns"] = f"warning: {self.swap.warning()}"
        return lines


def checked(
    checkpoint: Checkpoint,
    *sample: SampledUnit,
    checks: Checks,
    device: DeviceKind,
    threads: int | None,
    allow_cpu: bool = False,
) -> Preflight:
    """Load the checkpoint like a classify actor, and check its results on packaged pairs and on the `sample`.

    Raises ModelError for a checkpoint that fails a check, InputError for a gold set that cannot be read, and
    DeviceError for a GPU that cannot be used, unless `allow_cpu`. The caller checks the limits of agreement and
    accuracy.
    """
    # Imported here, because the driver does not need torch, which takes seconds to load.
    from albert_infer.engine.devices import usable_device

    def loaded(precision: Precision, device: DeviceKind) -> Classifier:
        return Classifier.load(
            checkpoint,
            precision=precision,
            device=device,
            threads=threads or cpus_here(),
            max_batch_tokens=checks.max_batch_tokens,
            review_below=checks.review_below,
        )

    device = usable_device(device, checks.precision, allow_cpu=allow_cpu)
    classifier = loaded(checks.precision, device)
    exact = classifier if checks.precision is Precision.FP32 else loaded(Precision.FP32, device)
    # A GPU is compared with the CPU, to detect a broken GPU.
    reference = exact if device is DeviceKind.CPU else loaded(Precision.FP32, DeviceKind.CPU)
    numbers_result = numbers.compare_numbers(
        checkpoint, classifier.engine, reference.engine, max_length=checks.tokenizer.frame.max_length, device=device
    )
    # Before the gold set and the sample, which may take minutes.
    probe = label_probe.run_probe(checkpoint, classifier)
    label_probe.refuse_wrong_order(checkpoint, probe, required=checks.require_probe)
    pairs = pairs_of(sample)
    return Preflight(
        precision=checks.precision,
        device=device,
        fused=classifier.engine.fused,
        numbers=numbers_result,
        probe=probe,
        gold=gate.measure_accuracy(classifier, checks.tokenizer, checks.gold) if checks.gold is not None else None,
        agreement=agreement.measure_agreement(classifier, exact, pairs) if checks.compared else None,
        swap=swap.detect_swap(classifier, (unit.texts for unit in sample), pairs),
        sample=counts_of(sample, checks.tokenizer.unknown_id),
    )


def refuse_limits(preflight: Preflight, *, min_agreement: float, min_accuracy: float | None) -> None:
    """Raises LimitError if too few labels equal those of fp32, or too few labels of the gold set are right."""
    agreement.refuse_disagreement(preflight.agreement, preflight.precision, min_agreement)
    gate.refuse_inaccuracy(preflight.gold, min_accuracy)
