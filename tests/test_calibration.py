"""A checkpoint's temperature is read as it was written, refused where it cannot be meant, and changes no label."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pairs import PROPERTY

from albert_infer.classify.probabilities import softmax, with_largest
from albert_infer.errors import ModelError
from albert_infer.model.calibration import LEAST, MOST, calibration_json, temperature_of

TEMPERATURES = st.floats(LEAST, MOST)
NUMBERS = st.integers(-(2**63), 2**63)
# Few distinct steps from one number, so that labels are often nearly or wholly equal, and numbers far apart.
STEPS = st.integers(0, 3).map(lambda steps: 1.0 + steps * float(np.spacing(np.float32(1))))
LOGITS = st.lists(st.lists(st.one_of(STEPS, st.floats(-40, 40, width=32)), min_size=3, max_size=3), min_size=1)


@PROPERTY
@given(temperature=TEMPERATURES, facts=st.dictionaries(st.text(), st.one_of(st.text(), NUMBERS)))
def test_the_temperature_comes_back_whatever_stands_beside_it(temperature: float, facts: dict[str, object]) -> None:
    written = calibration_json(temperature, facts)
    assert temperature_of(written, "m") == temperature
    assert json.loads(written) == {**facts, "temperature": temperature}


@pytest.mark.parametrize("temperature", [0, -1.0, 0.049, 20.1, 10**19, True, "1", None, [1.0]])
def test_a_temperature_that_cannot_be_meant_is_refused(temperature: object) -> None:
    with pytest.raises(ModelError, match=r"model m: calibration\.json has the temperature"):
        temperature_of(json.dumps({"temperature": temperature}).encode(), "m")


@pytest.mark.parametrize("temperature", [0.01, 50.0, math.nan])
def test_a_fit_that_ran_away_is_not_written(temperature: float) -> None:
    with pytest.raises(ModelError, match=f"from 0.05 to 20.0: found {temperature}"):
        calibration_json(temperature, {})


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"\xff",
        b"[" * 100_000,
        *(b'{"temperature": %s}' % n for n in (b"NaN", b"-Infinity", b"1e999", b"1" * 400)),
    ],
)
def test_a_file_that_is_no_json_is_refused(text: bytes) -> None:
    with pytest.raises(ModelError, match=r"model m: calibration\.json cannot be read: it "):
        temperature_of(text, "m")


@pytest.mark.parametrize("text", [b"{}", b"[1]", b"1.5", b"null", b'"temperature"'])
def test_a_file_without_a_temperature_is_refused(text: bytes) -> None:
    with pytest.raises(ModelError, match=r"model m: calibration\.json is not JSON with a number"):
        temperature_of(text, "m")


@PROPERTY
@given(logits=LOGITS, temperature=TEMPERATURES)
def test_no_temperature_changes_a_label_however_close_the_logits(logits: list[list[float]], temperature: float) -> None:
    given_logits = np.array(logits, np.float32)
    plain = softmax(given_logits)
    best = plain.argmax(axis=1)
    calibrated = with_largest(softmax(given_logits, temperature), best)
    assert calibrated.dtype == np.float32
    assert calibrated.argmax(axis=1).tolist() == best.tolist()
    np.testing.assert_allclose(calibrated.sum(axis=1, dtype=np.float64), 1, atol=1e-5)
    exact = np.exp((given_logits.astype(np.float64) - given_logits.max(axis=1, keepdims=True)) / temperature)
    np.testing.assert_allclose(calibrated, exact / exact.sum(axis=1, keepdims=True), atol=1e-5)
    assert with_largest(plain, best).tobytes() == plain.tobytes(), "without a temperature nothing is touched"


def test_logits_that_rounding_ties_or_parts_at_a_temperature_keep_their_label() -> None:
    # Tied by 20, where the last column was the larger; parted by 0.05, where the first was taken of equals.
    close = np.float32(1) + np.arange(3, dtype=np.float32) * np.spacing(np.float32(1))
    for temperature, best in ((20.0, 2), (0.05, 0)):
        logits = close[np.newaxis]
        assert softmax(logits, temperature).argmax() != best, "otherwise this shows nothing"
        assert with_largest(softmax(logits, temperature), np.array([best])).argmax() == best
