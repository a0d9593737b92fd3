"""Every row is kept and judged; what is bad says why, and its bytes are not lost."""

from __future__ import annotations

import base64

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pairs import PROPERTY, bytes_column

from albert_infer.prepare.validation import MAX_TEXT_BYTES, mark_rejected
from albert_infer.schema import DETAIL, HYPOTHESIS, PREMISE, REJECTION, Rejection

LONG = b"x" * (MAX_TEXT_BYTES + 1)
GOOD = (b"A man plays.", "Ein Überfall, 日本語 🙂".encode(), b"0", b" x ", "a​b".encode(), b"x" * MAX_TEXT_BYTES)
BLANK = tuple(
    text.encode() for text in ("", " ", "\t\r\n", "\x00\x07", "\u200b\u200d", "\ufeff", "\u00a0\u3000", "\u2028")
)
BAD_UTF8 = (b"\xff", b"caf\xe9", b"\xed\xa0\x80", b"ok \xf0\x9f\x99", b"\xc0\x80")
FAULTS: dict[bytes | None, Rejection | None] = {
    None: Rejection.NULL_TEXT,
    LONG: Rejection.TEXT_TOO_LONG,
    **dict.fromkeys(BAD_UTF8, Rejection.BAD_UTF8),
    **dict.fromkeys(BLANK, Rejection.EMPTY_TEXT),
    **dict.fromkeys(GOOD, None),
}
# The long ones apart: 1 MiB each would make the property slow without saying more.
TEXTS = st.sampled_from([text for text in FAULTS if text is None or len(text) < 99])


def judged(premises: list[bytes | None], hypotheses: list[bytes | None]) -> pa.Table:
    columns = {PREMISE: bytes_column(premises), HYPOTHESIS: bytes_column(hypotheses)}
    return mark_rejected(pa.table({"row": range(len(premises)), **columns}))


@PROPERTY
@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=12))
def test_every_row_is_kept_in_order_and_has_the_first_fault_of_its_texts(
    pairs: list[tuple[bytes | None, bytes | None]],
) -> None:
    table = judged([premise for premise, _ in pairs], [hypothesis for _, hypothesis in pairs])
    assert table["row"].to_pylist() == list(range(len(pairs)))
    table.validate(full=True)
    for row, (premise, hypothesis) in zip(table.to_pylist(), pairs, strict=True):
        rejection = FAULTS[premise] or FAULTS[hypothesis]
        assert row[REJECTION] == rejection
        assert (row[DETAIL] is None) == (rejection is None)
        kept = ("", "") if rejection else (premise, hypothesis)
        assert (row[PREMISE], row[HYPOTHESIS]) == tuple(t.decode() if isinstance(t, bytes) else t for t in kept)


@pytest.mark.parametrize("text", BAD_UTF8)
def test_bytes_that_are_not_utf8_are_kept_as_base64(text: bytes) -> None:
    detail = judged([b"good"], [text])[DETAIL][0].as_py()
    assert detail.startswith(HYPOTHESIS)
    assert base64.b64decode(detail.split()[-1], validate=True) == text


@pytest.mark.parametrize("text", [LONG, b"\xff" * (MAX_TEXT_BYTES + 1)])
def test_a_text_that_is_too_long_is_left_out_and_its_size_is_told(text: bytes) -> None:
    table = judged([text, GOOD[-1]], [b"good", b"good"])
    assert table[REJECTION].to_pylist() == [Rejection.TEXT_TOO_LONG, None]
    assert str(len(text)) in table[DETAIL][0].as_py()
    assert len(table[DETAIL][0].as_py()) < 200


def test_null_goes_before_all_other_faults_of_a_text_and_premise_before_hypothesis() -> None:
    table = judged([b"\xff", b" ", b"good"], [None, b"\xff", b" "])
    assert table[REJECTION].to_pylist() == [Rejection.BAD_UTF8, Rejection.EMPTY_TEXT, Rejection.EMPTY_TEXT]
    assert [detail.split()[0] for detail in table[DETAIL].to_pylist()] == [PREMISE, PREMISE, HYPOTHESIS]


def test_chunked_and_sliced_columns_are_judged_alike() -> None:
    whole = judged([b"good", None, b"\xff", b" "] * 3, [b"good"] * 12)
    columns = {
        PREMISE: pa.chunked_array(
            [bytes_column([b"good", None, b"\xff"]), bytes_column([b" ", *[b"good", None, b"\xff", b" "] * 2])]
        ),
        HYPOTHESIS: bytes_column([b"\xff", *[b"good"] * 12]).slice(1),
    }
    chunked = mark_rejected(pa.table({"row": range(12), **columns}))
    assert chunked.to_pydict() == whole.to_pydict()


def test_other_columns_and_good_texts_are_untouched() -> None:
    pairs = pa.table({"topic": ["news", None], PREMISE: [" A ", "b"], HYPOTHESIS: ["c\n", "d"]})
    assert mark_rejected(pairs).select(pairs.column_names).equals(pairs)


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())], ids=str)
@pytest.mark.parametrize("name", ["pair_id", "note"])
def test_an_id_or_carried_text_that_is_not_utf8_rejects_its_row_and_leaves_a_null(kind: pa.DataType, name: str) -> None:
    raw = [b"good", b"caf\xe9", None, b"good"]
    column = bytes_column(raw)
    if pa.types.is_dictionary(kind):
        column = pa.DictionaryArray.from_arrays(pa.array([0, 1, None, 0], pa.int32()), bytes_column([b"good", raw[1]]))
    pairs = pa.table({PREMISE: ["a", "b", "c", None], HYPOTHESIS: ["d"] * 4, name: column.cast(kind)})
    judged = mark_rejected(pairs)
    judged.validate(full=True)
    assert judged.schema.field(name).type == kind
    assert judged[name].to_pylist() == ["good", None, None, "good"]
    assert judged[REJECTION].to_pylist() == [None, Rejection.BAD_UTF8, None, Rejection.NULL_TEXT]
    assert judged[DETAIL][1].as_py() == f"{name} base64 {base64.b64encode(raw[1] or b'').decode()}"
    assert judged[PREMISE].to_pylist() == ["a", "", "c", ""]


def test_the_bytes_of_a_dictionary_that_no_row_points_at_are_not_kept_either() -> None:
    note = pa.DictionaryArray.from_arrays(pa.array([0, 1], pa.int32()), bytes_column([b"good", b"\xff"]))
    judged = mark_rejected(pa.table({PREMISE: ["a", "b"], HYPOTHESIS: ["c", "d"], "note": note}))
    judged.slice(0, 1).combine_chunks().validate(full=True)
    assert judged["note"].to_pylist() == ["good", None]
