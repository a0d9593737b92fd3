"""The temperature of a checkpoint: what its logits are divided by, so that a probability is how often it is right.

It stands in `calibration.json` of the checkpoint's folder, beside facts about how it was fitted. Knows nothing of
fitting, of pairs or of files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from albert_infer.common.json_input import parsed_json
from albert_infer.errors import ModelError

CALIBRATION: Final = "calibration.json"
TEMPERATURE: Final = "temperature"
# Of a checkpoint without the file.
UNCALIBRATED: Final = 1.0
# The facts are a few lines for people.
MAX_BYTES: Final = 2**20
# Classifiers that were trained for labels need 0.5 to 5. At 20 every label has about a third, at 0.05 one has all, so
# what is beyond is a mistake; and within, a softmax in fp32 keeps its sum.
LEAST: Final = 0.05
MOST: Final = 20.0


def calibration_json(temperature: float, facts: Mapping[str, object]) -> bytes:
    """The bytes of `calibration.json`; `facts` say what it was fitted on, and are for people.

    Raises ModelError for a temperature that no checkpoint would be loaded with.
    """
    if not _is_sane(temperature):
        found, remedy = f"found {temperature}", "fit it on more gold labels, or look at the checkpoint's label order"
        raise ModelError(f"a temperature from {LEAST} to {MOST}", found, remedy)
    return json.dumps({**facts, TEMPERATURE: float(temperature)}, indent=1).encode()


def temperature_of(calibration: bytes, source: str) -> float:
    """What `calibration_json` was given; other keys are ignored. Raises ModelError that names the `source`."""
    remedy = "fit the temperature again, or remove the file"
    try:
        parsed = parsed_json(calibration, max_bytes=MAX_BYTES)
    except ValueError as error:
        raise ModelError(f"model {source}", f"{CALIBRATION} cannot be read: {error}", remedy) from error
    if not isinstance(parsed, dict) or TEMPERATURE not in parsed:
        raise ModelError(f"model {source}", f'{CALIBRATION} is not JSON with a number "{TEMPERATURE}"', remedy)
    found = parsed[TEMPERATURE]
    if not _is_sane(found):
        told = f"{CALIBRATION} has the temperature {found!r:.40}"
        remedy = f"give a number from {LEAST} to {MOST}, or remove the file"
        raise ModelError(f"model {source}", told, remedy)
    return float(found)


def _is_sane(temperature: Any) -> bool:
    # A comparison that NaN fails; booleans are integers to Python.
    is_number = isinstance(temperature, int | float) and not isinstance(temperature, bool)
    return is_number and LEAST <= temperature <= MOST
