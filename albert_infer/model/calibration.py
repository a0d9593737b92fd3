"""The temperature of a checkpoint. Logits are divided by it, so that probabilities match the share of right labels.

The file `calibration.json` in the checkpoint's folder has the temperature, and facts about its fit. This module does
not fit, and does not read pairs or files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from albert_infer.common.json_input import parsed_json
from albert_infer.errors import ModelError

CALIBRATION: Final = "calibration.json"
TEMPERATURE: Final = "temperature"
# The temperature of a checkpoint without the file.
UNCALIBRATED: Final = 1.0
# The facts are a few short lines.
MAX_BYTES: Final = 2**20
# Trained classifiers need 0.5 to 5. At 20 every label has about a third, and at 0.05 one label has everything, so other
# values are mistakes. Within these limits a softmax in fp32 keeps its sum.
LEAST: Final = 0.05
MOST: Final = 20.0


def calibration_json(temperature: float, facts: Mapping[str, object]) -> bytes:
    """The bytes of `calibration.json`. `facts` describe the fit, for people.

    Raises ModelError for a temperature outside the limits.
    """
    if not _is_sane(temperature):
        remedy = "fit it on more gold labels, or check the checkpoint's label order"
        raise ModelError(f"a temperature from {LEAST} to {MOST}", f"found {temperature}", remedy)
    return json.dumps({**facts, TEMPERATURE: float(temperature)}, indent=1).encode()


def temperature_of(calibration: bytes, source: str) -> float:
    """The temperature in `calibration.json`. Other keys are ignored. Raises ModelError that names the `source`."""
    remedy = "fit the temperature again, or remove the file"
    try:
        parsed = parsed_json(calibration, max_bytes=MAX_BYTES)
    except ValueError as error:
        raise ModelError(f"model {source}", f"{CALIBRATION} cannot be read: {error}", remedy) from error
    if not isinstance(parsed, dict) or TEMPERATURE not in parsed:
        raise ModelError(f"model {source}", f'{CALIBRATION} is not JSON with a number "{TEMPERATURE}"', remedy)
    temperature = parsed[TEMPERATURE]
    if not _is_sane(temperature):
        problem = f"{CALIBRATION} has the temperature {temperature!r:.40}"
        remedy = f"give a number from {LEAST} to {MOST}, or remove the file"
        raise ModelError(f"model {source}", problem, remedy)
    return float(temperature)


def _is_sane(temperature: Any) -> bool:
    # The comparison is False for NaN. In Python, booleans are integers.
    is_number = isinstance(temperature, int | float) and not isinstance(temperature, bool)
    return is_number and LEAST <= temperature <= MOST
