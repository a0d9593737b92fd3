"""A table is known by its log, at, below or above the input; and all jobs agree about what of a folder is read."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from pairs import numbered_pairs, write_pairs
from pins import parquet_bytes
from s3_faults import FaultProxy, Rule
from s3_server import S3Location

from albert_infer import storage
from albert_infer.config import LabelSettings, NightlySettings
from albert_infer.errors import InputError, NoInputError, TableError
from albert_infer.job.report import Report, Seconds
from albert_infer.operations.nightly import Nights, label_each
from albert_infer.preflight.gold import GoldColumns, survey_gold
from albert_infer.read.selection import find_input, select
from albert_infer.read.survey import survey_input
from albert_infer.storage import DEFAULT_ACCESS, S3Access
from albert_infer.verification import is_input

LOGS = [
    "_delta_log/00000000000000000000.json",
    ".hoodie/hoodie.properties",
    "metadata/00000-6f.metadata.json",
    "snapshot/snapshot-1",
    "_spark_metadata/0",
]


def write_log(table: Path, log: str) -> None:
    (table / log).parent.mkdir(parents=True, exist_ok=True)
    (table / log).write_text("{}")


def found(source: Path | str, *, ignore: bool = False) -> list[str]:
    """The names of what is read."""
    pins, _ = select(find_input(str(source), DEFAULT_ACCESS, ignore_table_format=ignore))
    return [pin.name for pin in pins]


@pytest.mark.parametrize("log", LOGS)
@pytest.mark.parametrize(
    ("table", "source"), [("t", "t"), ("in/deep/t", "in"), ("t", "t/dt=2026-11-21/_h=1"), ("t", "t/data")]
)
def test_a_tables_files_are_read_only_by_who_says_so(tmp_path: Path, log: str, table: str, source: str) -> None:
    path = write_pairs(tmp_path / table / "data" / "a.parquet", numbered_pairs(2))
    write_pairs(tmp_path / "t" / "dt=2026-11-21" / "_h=1" / "a.parquet", numbered_pairs(2))
    write_log(tmp_path / table, log)
    with pytest.raises(TableError, match=r"table|stream") as refused:
        found(tmp_path / source)
    assert ".write.parquet(FOLDER)" in refused.value.remedy
    assert "--ignore-table-format" in refused.value.remedy
    assert found(tmp_path / source, ignore=True)
    # A file that was named is what was asked for.
    assert found(path) == ["a.parquet"]


@pytest.mark.s3
def test_on_s3_a_table_above_the_input_is_seen_where_the_job_may_list_it(s3_bucket: S3Location) -> None:
    table = storage.open_folder(s3_bucket.uri)
    table.put_if_absent("dt=2026-11-21/_h=00/a.parquet", parquet_bytes())
    source = f"{s3_bucket.uri}/dt=2026-11-21/_h=00/"
    # Such a prefix alone shows no table, nor does a table beside it.
    for name in ("_delta_logs/a", "metadata/notes.json", "other/_delta_log/0.json"):
        table.put_if_absent(name, b"{}")
    assert found(source) == ["a.parquet"]
    for log in LOGS:
        table.put_if_absent(log, b"{}")
        with pytest.raises(TableError, match=re.escape(f"({s3_bucket.uri})")):
            found(source)
        table.delete([log])
    table.put_if_absent(LOGS[0], b"{}")
    denied = Rule("status", "GET", r"list-type=2.*_delta_log", status=403, code="AccessDenied", times=None)
    with FaultProxy(s3_bucket.endpoint, [denied]) as proxy:
        assert find_input(source, S3Access(proxy.endpoint)).pins
        # Both folders above, each once by its path: a request may be sent again.
        denied_at = proxy.seen("GET", r"list-type=2.*_delta_log")
        assert len({request.path for request in denied_at}) == 2
        assert proxy.faults["status"] == len(denied_at)


def test_a_hudi_partition_says_itself_that_it_is_one(tmp_path: Path) -> None:
    write_pairs(tmp_path / "2026" / "eu" / "a.parquet", numbered_pairs(2))
    write_log(tmp_path / "2026" / "eu", ".hoodie_partition_metadata")
    with pytest.raises(TableError, match="a Hudi table"):
        found(tmp_path / "2026" / "eu")


def test_a_log_that_no_file_of_the_input_belongs_to_does_not_matter(tmp_path: Path) -> None:
    write_pairs(tmp_path / "in" / "a.parquet", numbered_pairs(2))
    # Beside the input, in a folder that is not read, and above what is no partition.
    for table in (tmp_path / "other", tmp_path / "in" / "_old", tmp_path):
        write_log(table, LOGS[0])
    assert found(tmp_path / "in") == ["a.parquet"]


def test_gold_pairs_are_not_read_out_of_a_table(tmp_path: Path) -> None:
    write_pairs(tmp_path / "a.parquet", numbered_pairs(2))
    write_log(tmp_path, LOGS[0])
    with pytest.raises(InputError, match=r"--gold .*a Delta table.*; export the rows"):
        survey_gold("--gold", str(tmp_path), GoldColumns())


def test_a_verification_agrees_with_the_job_about_what_is_input(tmp_path: Path) -> None:
    folders = ["", "_x/", ".x/", "_day=1/", "day=_x/", "v.bak/", "deep/er/"]
    names = [
        "a.parquet",
        "b.PQ",
        "c",
        "_d.parquet",
        ".e.parquet",
        "f.parquet.bak",
        "g.parquet.gz",
        "h.csv",
        "i~",
        "j.parquet.1",
    ]
    for number, (folder, name) in enumerate(itertools.product(folders, names)):
        path = write_pairs(tmp_path / folder / name, numbered_pairs(1))
        path.write_bytes((b"PAR1....", b"PARE....", b"text", b"")[number % 4])
    objects = storage.resolve_input(str(tmp_path))
    assert len(objects.pins) == len(folders) * len(names)
    chosen, ignored = select(objects)
    assert [pin for pin in objects.pins if is_input(objects, pin)] == chosen
    assert len(chosen) + len(ignored) == len(objects.pins)


# What leads to nothing, to itself, and what another user may not read.
def forbid(path: Path) -> None:
    path.write_bytes(b"PAR1....")
    path.chmod(0)


UNREADABLE: dict[str, Callable[[Path], None]] = {
    "gone": lambda path: path.symlink_to("user@host.1234:5678"),
    "loop": lambda path: path.symlink_to(path.name),
    "forbidden": forbid,
}


@contextmanager
def readable_folder() -> Iterator[Path]:
    """A folder with one file of pairs, seen by a user that is not root."""
    with TemporaryDirectory(dir="/tmp") as name:
        folder, before = Path(name), os.geteuid()
        folder.chmod(0o755)
        write_pairs(folder / "b.parquet", numbered_pairs(2)).chmod(0o644)
        try:
            yield folder
        finally:
            os.seteuid(before)


def as_a_user() -> None:
    if os.geteuid() == 0:
        os.seteuid(65534)


@pytest.mark.parametrize("made", UNREADABLE.values(), ids=UNREADABLE)
def test_names_come_before_what_cannot_be_read(made: Callable[[Path], object]) -> None:
    names = {".#a.parquet": "hidden", "_x": "hidden", "a.parquet.bak": "copy", "v~": "copy", "note.txt": "not_parquet"}
    with readable_folder() as folder:
        for name in names:
            made(folder / name)
        as_a_user()
        objects = find_input(str(folder), DEFAULT_ACCESS)
        assert survey_input(objects, LabelSettings(input=str(folder), output="out")).ignored == names
        assert [pin.name for pin in objects.pins if is_input(objects, pin)] == ["b.parquet"]


@pytest.mark.parametrize(
    ("reason", "told"),
    [("gone", "a link to nothing"), ("loop", "a link that leads to itself"), ("forbidden", "Permission denied")],
)
@pytest.mark.parametrize("name", ["a.parquet", "000000_0", "part-0.snappy", "x.parquet-00000-of-00010"])
def test_what_may_be_data_and_cannot_be_read_is_refused_with_the_reason(name: str, reason: str, told: str) -> None:
    with readable_folder() as folder:
        UNREADABLE[reason](folder / name)
        as_a_user()
        objects = find_input(str(folder), DEFAULT_ACCESS)
        with pytest.raises(InputError, match=told) as refused:
            survey_input(objects, LabelSettings(input=str(folder), output="out"))
        assert str(folder / name) in str(refused.value)
        assert [pin.name for pin in objects.pins if is_input(objects, pin)] == sorted([name, "b.parquet"])


def nights_of(folder: Path, *, missing: str) -> Nights:
    """What becomes of two nights whose footers are read and nothing else."""

    def survey(settings: LabelSettings) -> Report:
        objects = find_input(settings.input, DEFAULT_ACCESS, ignore_table_format=settings.ignore_table_format)
        ignored = survey_input(objects, settings).ignored
        return Report(seconds=Seconds(publishing=1), ignored=ignored)

    roots = {"input_root": str(folder / "in"), "output_root": str(folder / "out")}
    asked = {**roots, "since": "2024-03-01", "until": "2024-03-02", "missing": missing}
    settings = NightlySettings.model_validate(asked)
    return label_each(settings, storage.open_folder(str(folder / "out" / "_runs")), survey)


@pytest.mark.parametrize(
    ("name", "data", "end"),
    [
        ("part-0.parquet.gz", b"\x1f\x8b", "failed"),
        ("a.csv", b"premise,hypothesis", "failed"),
        ("_temporary/0/a.parquet", b"PAR1", "failed"),
        ("a.parquet._COPYING_", b"PAR1", "failed"),
        ("_SUCCESS", b"", "no_input"),
        ("*", None, "no_input"),
    ],
)
def test_a_night_whose_objects_were_all_left_out_is_told_and_only_an_empty_one_is_skipped(
    tmp_path: Path, name: str, data: bytes | None, end: str
) -> None:
    write_pairs(tmp_path / "in" / "dt=2024-03-01" / "_hour=00" / "a.parquet", numbered_pairs(2))
    path = tmp_path / "in" / "dt=2024-03-02" / name
    if data is not None:
        path.parent.mkdir(parents=True)
        path.write_bytes(data)
    nights = nights_of(tmp_path, missing="skip")
    assert [str(night.end) for night in nights.nights] == ["published", end]
    assert (nights.worst is None, nights.nights[1].exit_code) == ((True, 0) if end == "no_input" else (False, 2))
    assert end == "no_input" or name in str(nights.nights[1].error)


def test_a_night_says_what_was_left_out_of_it(tmp_path: Path) -> None:
    for day in (1, 2):
        write_pairs(tmp_path / "in" / f"dt=2024-03-0{day}" / "a.parquet", numbered_pairs(2))
    (tmp_path / "in" / "dt=2024-03-02" / "b.jsonl").write_text("{}")
    first, second = nights_of(tmp_path, missing="error").nights
    assert (first.left_out, second.left_out) == (None, "1 as not Parquet, first b.jsonl")
    assert "left out: 1 as not Parquet, first b.jsonl" in str(second)


def test_a_night_of_a_table_is_refused_at_each_partition(tmp_path: Path) -> None:
    for day in (1, 2):
        write_pairs(tmp_path / "in" / f"dt=2024-03-0{day}" / "a.parquet", numbered_pairs(2))
    write_log(tmp_path / "in", LOGS[0])
    nights = nights_of(tmp_path, missing="skip")
    assert [type(nights.worst), *(str(night.end) for night in nights.nights)] == [TableError, "failed", "failed"]


def test_a_root_that_can_name_nothing_is_no_empty_night(tmp_path: Path) -> None:
    write_pairs(tmp_path / "a" / "dt=2024-03-01" / "a.parquet", numbered_pairs(2))
    for name in ("a*", f"a,{tmp_path}/b", "{a,b}", "a[0-9]"):
        with pytest.raises(InputError, match="nothing has this name") as refused:
            find_input(f"{tmp_path / name}/dt=2024-03-01/", DEFAULT_ACCESS)
        assert not isinstance(refused.value, NoInputError)
    with pytest.raises(NoInputError, match="one input is read"):
        find_input(f"{tmp_path}/a,b/dt=2024-03-01/", DEFAULT_ACCESS)
