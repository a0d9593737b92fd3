"""The classifier of a worker: on the device that was planned, or on the CPU where an operator allows it."""

from __future__ import annotations

from albert_infer.classify.classification import CPU_BATCH_TOKENS, Classifier
from albert_infer.classify.rows import RowClassifier
from albert_infer.engine.processor import cpus_here
from albert_infer.model.checkpoint import Checkpoint
from albert_infer.pipeline.resources import WorkerResources
from albert_infer.prepare.framing import PairFrame
from albert_infer.schema import DeviceKind, PairColumns, Precision


def classifier_of_worker(
    checkpoint: Checkpoint,
    precision: Precision,
    workers: WorkerResources,
    *,
    max_batch_tokens: int,
    columns: PairColumns,
    frame: PairFrame,
) -> tuple[Classifier | RowClassifier, DeviceKind]:
    """The classifier of a run with these columns, on the device of this worker, and that device.

    A worker whose planned GPU cannot be used has the CPU's token budget and all CPUs of its machine, because Ray gave
    it none. Raises ModelError, and DeviceError as `usable_device`.
    """
    # Imported here, because the driver and the read tasks have no use for torch, and torch takes seconds to load.
    from albert_infer.engine.devices import usable_device

    device = usable_device(workers.device, precision, allow_cpu=workers.allow_cpu)
    threads = workers.threads
    if device is not workers.device:
        max_batch_tokens, threads = min(max_batch_tokens, CPU_BATCH_TOKENS), cpus_here()
    classifier = Classifier.load(
        checkpoint,
        precision=precision,
        device=device,
        max_batch_tokens=max_batch_tokens,
        threads=threads,
        review_below=columns.review_below,
    )
    if columns.expansion is None:
        return classifier, device
    return RowClassifier(classifier, columns.expansion, frame), device
