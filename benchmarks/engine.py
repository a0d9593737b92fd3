"""`python -m benchmarks.engine`: the engine alone beside its peers on one device, a GPU where there is one.

Needs torch, transformers, tokenizers, pyarrow, safetensors and rich, and sentence-transformers for its rows; neither
Ray nor what reads settings or S3.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from itertools import product
from pathlib import Path
from typing import Final

import torch

from albert_infer.errors import ModelError
from albert_infer.model.checkpoint import load_checkpoint
from albert_infer.schema import DeviceKind, Precision
from benchmarks import busy, devices, machine, ours, peers, section, table, workloads
from benchmarks.contender import Absent, Contender, Samples

# What the peers' documentation uses, and what keeps each kind of device busy.
BATCHES: Final = {DeviceKind.CPU: (peers.BATCH_PAIRS, 256), DeviceKind.CUDA: (peers.BATCH_PAIRS, 256, 1024)}
CPU_PRECISIONS: Final = (Precision.FP32, Precision.BF16, Precision.INT8)
MODEL_BATCHES: Final = {DeviceKind.CPU: (peers.BATCH_PAIRS,), DeviceKind.CUDA: BATCHES[DeviceKind.CUDA]}


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print the tables, and write them as JSON where asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine", description=__doc__)
    section.add_flags(parser)
    given = parser.parse_args(argv)
    torch.set_num_threads(machine.cores())
    device = devices.this_device()
    header = machine.this_machine(devices.gpu_name(device))
    with tempfile.TemporaryDirectory(prefix="albert-infer-bench-") as scratch:
        contenders = partial(engine_contenders, device=device)
        sections = [section.take_section(each, Path(scratch), contenders, device) for each in section.asked(given)]
        units = [_busy(each, Path(scratch), device) for each in section.asked(given)]
    console = table.show_sections(header, sections)
    for busy_units in units:
        console.print(busy_units.to_text())
    if given.json:
        told = {"sections": [each.to_json() for each in sections], "units": [asdict(each) for each in units]}
        measured = {"machine": asdict(header), **told}
        given.json.write_text(json.dumps(measured, indent=1) + "\n")


def _busy(wanted: section.Asked, scratch: Path, device: DeviceKind) -> busy.Busy:
    model = section.saved_model(scratch, wanted.shape)
    shape = load_checkpoint(str(model)).shape
    count = wanted.pairs or section.default_pairs(shape, wanted.workload, device)
    return busy.measured(model, workloads.workload_pairs(wanted.workload, wanted.data, count), device)


def engine_contenders(model: Path, _: Samples, device: DeviceKind) -> list[Contender | Absent]:
    """Hugging Face's model in fp32 first, which the others are compared with; then what each can on the device."""
    there = [precision for precision in devices.FLOAT_DTYPES if not devices.obstacle(device, precision)]
    rows: list[Contender | Absent] = [
        peers.model_contender(model, precision, device, size)
        for precision, size in product(there, MODEL_BATCHES[device])
    ]
    for precision in there:
        rows += peers.cross_encoder_contenders(model, precision, device, BATCHES[device])
    rows += [_our_engine(model, precision, device) for precision in Precision]
    return rows if device is DeviceKind.CUDA else rows + ours.one_core_contenders(model, CPU_PRECISIONS)


def _our_engine(model: Path, precision: Precision, device: DeviceKind) -> Contender | Absent:
    if reason := devices.obstacle(device, precision):
        return Absent(ours.engine_name(precision), precision, reason)
    try:
        return ours.engine_contender(model, precision, device)
    except ModelError as error:
        return Absent(ours.engine_name(precision), precision, f"not on {device}: {error.problem}")


if __name__ == "__main__":
    main()
