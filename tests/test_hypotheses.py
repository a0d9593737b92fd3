"""The set of hypotheses of a run: what a file may hold, and that a fault is named by its line or row."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from s3_server import S3Location

from albert_infer.config import LabelSettings
from albert_infer.errors import InputError, SettingsError
from albert_infer.read import hypotheses as reading
from albert_infer.read.hypotheses import hypothesis_set
from albert_infer.schema import HypothesisSet
from albert_infer.storage import Folder, S3Access

PAIR = HypothesisSet(("1", "b"), ("It is, say, about a.", 'It is "b".\nReally.'))
IDS = pa.array(["1", "b"])
TEXTS = pa.array(PAIR.texts)
CSV = b'hypothesis_id,hypothesis\n1,"It is, say, about a."\nb,"It is ""b"".\nReally."\n'
JSON_LINES = b"".join(
    json.dumps({"hypothesis": text, "hypothesis_id": key, "note": [1]}).encode() + b"\n"
    for key, text in ((1, PAIR.texts[0]), ("b", PAIR.texts[1]))
)


def settings(**given: Any) -> LabelSettings:
    return LabelSettings(input="in", output="out", **given)


def parquet(**columns: Any) -> bytes:
    return of_table(pa.table(columns))


def of_table(table: pa.Table, **options: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **options)
    return buffer.getvalue()


@pytest.fixture
def read(tmp_path: Path) -> Any:
    def read_file(data: bytes, name: str = "set.csv", **given: Any) -> HypothesisSet:
        path = tmp_path / name
        path.write_bytes(data)
        hypotheses = hypothesis_set(settings(hypotheses=str(path), **given))
        assert hypotheses is not None
        return hypotheses

    return read_file


@pytest.fixture
def refusal(read: Any, tmp_path: Path) -> Any:
    def refusal_of(data: bytes, name: str = "set.csv", **given: Any) -> str:
        with pytest.raises(InputError) as refused:
            read(data, name, **given)
        assert refused.value.exit_code == 2
        assert refused.value.asked == f"--hypotheses {tmp_path / name}"
        line = f"{refused.value.problem}; {refused.value.remedy}"
        assert line.isprintable()
        assert len(line) < 350
        return line

    return refusal_of


def test_a_run_without_a_set_has_none() -> None:
    assert hypothesis_set(settings()) is None
    assert hypothesis_set(settings(split_premise="sentences")) is None


def test_candidates_are_ids_and_the_template_makes_their_texts() -> None:
    given = settings(candidates=("new laws", "ärzte"), hypothesis_template="About {}!")
    assert hypothesis_set(given) == HypothesisSet(("new laws", "ärzte"), ("About new laws!", "About ärzte!"))


@pytest.mark.parametrize(
    ("candidates", "line"),
    [
        (("a", "\u200b"), "candidate 2: `hypothesis_id` is blank"),
        (("a" * 1025, "b"), "candidate 1: `hypothesis_id` has 1,025 bytes, and at most 1,024 are read; shorten it"),
        (tuple(map(str, range(10_001))), "candidate 10,001 is hypothesis 10,001, and at most 10,000 are read"),
    ],
)
def test_a_candidate_has_the_limits_of_a_row(candidates: tuple[str, ...], line: str) -> None:
    with pytest.raises(InputError) as refused:
        hypothesis_set(settings(candidates=candidates))
    assert str(refused.value).startswith(f"--candidates: {line}")


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("set.csv", CSV),
        ("set.CSV", b"\xef\xbb\xbf" + CSV),
        # Only line ends between rows are changed: those inside a text are part of it.
        ("set.csv", CSV.replace(b'y."\n', b'y."\r\n').replace(b"s\n1", b"s\r\n1").replace(b'."\nb', b'."\r\nb')),
        ("set.csv", b"\n" + CSV.replace(b'."\nb', b'."\n\n\nb').rstrip()),
        ("set.jsonl", JSON_LINES),
        ("set.ndjson", b"\xef\xbb\xbf\n" + JSON_LINES.replace(b"\n", b"\r\n\r\n").rstrip()),
        ("set.parquet", parquet(hypothesis_id=IDS, hypothesis=TEXTS, more=pa.array([1, 2]))),
        ("set.parquet", parquet(hypothesis=TEXTS.dictionary_encode(), hypothesis_id=IDS.cast(pa.large_string()))),
        ("set.parquet", parquet(hypothesis=TEXTS.cast(pa.string_view()), hypothesis_id=IDS)),
    ],
)
def test_a_file_of_each_form_has_the_same_set(name: str, data: bytes, read: Any) -> None:
    assert read(data, name) == PAIR


def test_columns_of_csv_may_have_any_order_and_ids_keep_their_zeros(read: Any) -> None:
    data = b"hypothesis,note,hypothesis_id\nA.,x,007\nA.,,08\n"
    assert read(data) == HypothesisSet(("007", "08"), ("A.", "A.")), "two ids may have one text"


@pytest.mark.parametrize("kind", [pa.int8(), pa.int64(), pa.uint64()])
def test_whole_numbers_are_ids(kind: pa.DataType, read: Any) -> None:
    data = parquet(hypothesis_id=pa.array([7, 1], kind), hypothesis=TEXTS)
    assert read(data, "set.parquet").ids == ("7", "1")


def test_rows_of_all_row_groups_are_read_in_order(read: Any) -> None:
    count = 700
    table = pa.table({"hypothesis_id": pa.array(range(count)), "hypothesis": [f"T{row}." for row in range(count)]})
    assert read(of_table(table, row_group_size=300), "s.parquet").texts == tuple(table["hypothesis"].to_pylist())


HEADER = b"hypothesis_id,hypothesis\n"


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"", "it has no rows; write one hypothesis a row"),
        (b"\n\r\n", "it has no rows"),
        (HEADER, "it has no rows"),
        (b"id,hypothesis\na,b\n", "it has no column `hypothesis_id`, but `id, hypothesis`; begin the file with a line"),
        (b"hypothesis_id;hypothesis\na;b\n", "but `hypothesis_id;hypothesis`; begin the file with a line of names bet"),
        (b"hypothesis_id,text\na,b\n", "it has no column `hypothesis`, but `hypothesis_id, text`"),
        (b"hypothesis_id,hypothesis,hypothesis\na,b,c\n", "it has 2 columns `hypothesis`; leave one of them"),
        (HEADER + b"a,b\nc,d,e\n", "line 3 has 3 fields, and the first line has 2; put a text that has a comma betwe"),
        (HEADER + b"a\n", "line 2 has 1 fields"),
        (
            HEADER + b'a,"b\n\nb"\na,c\n',
            "line 5 has the `hypothesis_id` `a`, as line 2 has; give each hypothesis an id",
        ),
        (HEADER + b'a,b\nc,"d\n', "line 3 is not CSV: unexpected end of data; close each double quote, and write"),
        (HEADER + b'a,b\nc,"d"e\n', "line 3 is not CSV: ',' expected after '\"'"),
        (HEADER + b"a,b\nc,\xff\n", "line 3 is not UTF-8; save the file as UTF-8"),
        ("hypothesis_id,hypothesis\na,b\n".encode("utf-16"), "line 1 is not UTF-8"),
        (HEADER + b"a,b\n,d\n", "line 3: `hypothesis_id` is blank; give each row an id and a text"),
        (HEADER + b"a,b\nc, \t\n", "line 3: `hypothesis` is blank"),
        (HEADER + "a,\u00a0\u200b\u2028\n".encode(), "line 2: `hypothesis` is blank"),
        (HEADER + b"a," + b"b" * 65_537 + b"\n", "line 2: `hypothesis` has 65,537 bytes, and at most 65,536 are read"),
        (HEADER + b"a," + b"b" * 200_000 + b"\n", "line 2 is not CSV: field larger than field limit"),
        (HEADER + b"a\x1b[1m" * 2 + b",b\n" + b"a\x1b[1m" * 2 + b",b\n", "`a\\x1b[1ma\\x1b[1m`, as line 2 has"),
        (HEADER + (b"k" * 900 + b",b\n") * 2, f"`hypothesis_id` `{'k' * 80}…`, as line 2"),
        (b",".join([b"x" * 50] * 50) + b"\n", f"`{'x' * 50}, {'x' * 28}…`; begin the file"),
    ],
)
def test_a_fault_of_a_csv_file_is_named_by_its_line(data: bytes, line: str, refusal: Any) -> None:
    assert line in refusal(data)


@pytest.mark.parametrize(
    ("data", "line"),
    [
        ("\n \n", "it has no rows"),
        (
            '[{"hypothesis_id": "a", "hypothesis": "b"}]',
            "line 1 is a list, and no JSON object; write one JSON object a",
        ),
        ('{"hypothesis_id": "a", "hypothesis": "b"}\n\n"x"', "line 3 is text, and no JSON object"),
        ('{\n"hypothesis_id": "a"}', "line 1: it is not JSON at column 2: Expecting"),
        ('{"hypothesis_id": "a"}', "line 1 has no `hypothesis`, but `hypothesis_id`"),
        ("{}", "line 1 has no `hypothesis_id`, but no column"),
        ('{"hypothesis_id": null, "hypothesis": "b"}', "line 1: `hypothesis_id` is null"),
        ('{"hypothesis_id": "a", "hypothesis": null}', "line 1: `hypothesis` is null"),
        (
            '{"hypothesis_id": 1.0, "hypothesis": "b"}',
            "line 1: `hypothesis_id` is a number that is not whole; give text",
        ),
        (
            '{"hypothesis_id": true, "hypothesis": "b"}',
            "line 1: `hypothesis_id` is true or false; give text or a whole",
        ),
        ('{"hypothesis_id": {}, "hypothesis": "b"}', "line 1: `hypothesis_id` is an object"),
        ('{"hypothesis_id": "a", "hypothesis": 7}', "line 1: `hypothesis` is a number; give text"),
        ('{"hypothesis_id": "a", "hypothesis": ["b"]}', "line 1: `hypothesis` is a list"),
        ('{"hypothesis_id": "a", "hypothesis": "\\ud800"}', "line 1: it has text with half a character"),
        ('{"hypothesis_id": 1, "hypothesis": "b"}\n{"hypothesis_id": "1", "hypothesis": "c"}', "line 2 has the `hypot"),
        ('{"hypothesis_id": ' + "9" * 30 + ', "hypothesis": "b"}', "line 1: it has a whole number of 30 digits"),
        ("[" * 5000, "line 1: it is nested deeper than 100 levels"),
        ('{"hypothesis_id": "a", "hypothesis": "' + "b" * (1 << 20) + '"}', "line 1: it has 1,048,616 bytes, and at"),
    ],
)
def test_a_fault_of_json_lines_is_named_by_its_line(data: str, line: str, refusal: Any) -> None:
    assert line in refusal(data.encode(), "set.jsonl")


def test_json_lines_that_are_not_utf8_are_named(refusal: Any) -> None:
    assert "line 2: it is not UTF-8 at byte 0" in refusal(
        JSON_LINES[: JSON_LINES.index(b"\n") + 1] + b"\xff", "s.jsonl"
    )


NOT_UTF8 = pa.array([b"ok", b"\xff"]).cast(pa.binary())


@pytest.mark.parametrize(
    ("columns", "line"),
    [
        (
            {"hypothesis": TEXTS},
            "it has no column `hypothesis_id`, but `hypothesis`; name the columns hypothesis_id and",
        ),
        ({"hypothesis_id": IDS, "hypothesis": pa.array([], pa.string())}, "it has no rows"),
        (
            {"hypothesis_id": pa.array([1.0, 2.0]), "hypothesis": TEXTS},
            "`hypothesis_id` is of type double; write it as",
        ),
        ({"hypothesis_id": IDS, "hypothesis": pa.array([1, 2])}, "`hypothesis` is of type int64; write it as text"),
        (
            {"hypothesis_id": IDS, "hypothesis": pa.array([["a"], ["b"]])},
            "`hypothesis` is of type list<element: string>",
        ),
        ({"hypothesis_id": IDS, "hypothesis": TEXTS.cast(pa.binary())}, "`hypothesis` is of type binary"),
        ({"hypothesis_id": IDS, "hypothesis": pa.array(["a", None])}, "row 2: `hypothesis` is null"),
        ({"hypothesis_id": IDS, "hypothesis": pa.nulls(2)}, "row 1: `hypothesis` is null"),
        ({"hypothesis_id": pa.array([5, None]), "hypothesis": TEXTS}, "row 2: `hypothesis_id` is null"),
        ({"hypothesis_id": pa.array([5, 5]), "hypothesis": TEXTS}, "row 2 has the `hypothesis_id` `5`, as row 1 has"),
        ({"hypothesis_id": IDS, "hypothesis": pa.array(["a", " "])}, "row 2: `hypothesis` is blank"),
        (
            {"hypothesis_id": IDS, "hypothesis": pa.Array.from_buffers(pa.string(), 2, NOT_UTF8.buffers())},
            "row 2: `hypothesis` is not UTF-8",
        ),
    ],
)
def test_a_fault_of_a_parquet_file_is_named_by_its_row(columns: dict[str, Any], line: str, refusal: Any) -> None:
    rows = min(map(len, columns.values()))
    data = parquet(**{name: column.slice(0, rows) for name, column in columns.items()})
    assert line in refusal(data, "set.parquet")


@pytest.mark.parametrize(
    "data", [b"PAR1", b"x" * 100, parquet(hypothesis_id=IDS, hypothesis=TEXTS)[:-20], b"PAR1" + b"\x00" * 60 + b"PAR1"]
)
def test_a_file_that_is_no_parquet_is_refused(data: bytes, refusal: Any) -> None:
    assert "it cannot be read as Parquet: " in refusal(data, "set.parquet")


def test_a_damaged_page_of_parquet_is_refused(refusal: Any) -> None:
    data = bytearray(parquet(hypothesis_id=IDS, hypothesis=TEXTS))
    data[4:60] = b"\xff" * 56
    assert "it cannot be read as Parquet: " in refusal(bytes(data), "set.parquet")


def test_a_dictionary_does_not_become_gigabytes_of_text(refusal: Any) -> None:
    # Whole, the column is 9 GB.
    count, long = 9_000, "x" * 1_000_000
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * count, pa.int32()), pa.array([long]))
    data = parquet(hypothesis_id=pa.array(range(count)), hypothesis=texts)
    assert "row 1: `hypothesis` has 1,000,000 bytes" in refusal(data, "set.parquet")


def test_a_set_of_more_than_ten_thousand_is_refused(read: Any, refusal: Any) -> None:
    rows = [b"%d,t\n" % row for row in range(10_001)]
    assert len(read(HEADER + b"".join(rows[:10_000]))) == 10_000
    assert "line 10,002 is hypothesis 10,001, and at most 10,000 are read; label with a part" in refusal(
        HEADER + b"".join(rows)
    )


def test_a_file_of_another_form_or_size_is_refused(refusal: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, ending in (("set.tsv", "ends in `.tsv`"), ("set.csv.gz", "ends in `.gz`"), ("set", "has no ending")):
        assert f"its name {ending}; give a file that ends in .parquet, .jsonl, .ndjson or .csv" in refusal(CSV, name)
    monkeypatch.setattr(reading, "MAX_FILE_BYTES", len(CSV) - 1)
    assert f"it has {len(CSV)} bytes, and at most {len(CSV) - 1} are read" in refusal(CSV)


def test_one_hypothesis_is_ranked_by_topics_multi_only(read: Any, refusal: Any) -> None:
    data = HEADER + b"a,b\n"
    assert "a single one always scores 1; add hypotheses, or give --fold topics_multi" in refusal(data)
    for fold in ("topics_multi", "any_entailment"):
        assert read(data, fold=fold).ids == ("a",)


def test_a_folder_or_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sets.csv").mkdir()
    (tmp_path / "sets.csv" / "a.csv").write_bytes(CSV)
    (tmp_path / "empty").mkdir()
    is_folder = "it is a folder, and one file is expected; give the location of one file"
    for name, line in (("sets.csv", is_folder), ("sets.csv/", is_folder), ("nothing.csv", "nothing is there; correct")):
        with pytest.raises(InputError, match=line):
            hypothesis_set(settings(hypotheses=f"{tmp_path}/{name}"))
    for name in ("empty", "sets.csv/a.csv/b.csv"):
        with pytest.raises(InputError, match="nothing is there"):
            hypothesis_set(settings(hypotheses=f"{tmp_path}/{name}"))


def test_a_file_uri_a_home_folder_and_a_link_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my set.csv").write_bytes(CSV)
    (tmp_path / "link.csv").symlink_to(tmp_path / "my set.csv")
    # A mounted ConfigMap has such links.
    (tmp_path / "data").write_bytes(CSV)
    (tmp_path / "mounted.csv").symlink_to(tmp_path / "data")
    monkeypatch.setenv("HOME", str(tmp_path))
    for location in (f"file://{tmp_path}/my%20set.csv", "~/my set.csv", "~/link.csv", "~/mounted.csv"):
        assert hypothesis_set(settings(hypotheses=location)) == PAIR


def test_a_location_with_credentials_is_refused_without_them() -> None:
    with pytest.raises(SettingsError) as refused:
        hypothesis_set(settings(hypotheses="s3://AKIA:n3verpr1nt@sets/a.csv"))
    assert "n3verpr1nt" not in str(refused.value)


def test_a_bucket_is_no_file() -> None:
    with pytest.raises(InputError, match="--hypotheses s3://sets: it is a folder"):
        hypothesis_set(settings(hypotheses="s3://sets"))


@pytest.mark.s3
def test_a_set_on_s3_is_read(s3_bucket: S3Location) -> None:
    from albert_infer import storage

    access = S3Access(s3_bucket.endpoint)
    folder: Folder = storage.open_folder(s3_bucket.uri, access)
    for name, data in (("sets/a.csv", CSV), ("sets/b.jsonl", JSON_LINES), ("sets/none.csv", b"")):
        assert folder.put_if_absent(name, data)
    for name in ("a.csv", "b.jsonl"):
        assert hypothesis_set(settings(hypotheses=f"{s3_bucket.uri}/sets/{name}"), access) == PAIR
    for name, line in (("none.csv", "it has no rows"), ("c.csv", "nothing is there"), ("", "it is a folder, and")):
        location = f"{s3_bucket.uri}/sets/{name}".removesuffix("/")
        with pytest.raises(InputError, match=line):
            hypothesis_set(settings(hypotheses=location), access)
