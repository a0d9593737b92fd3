"""`put_if_absent` under every failure that a store has: what the caller is told, how often it was tried, what stands.

Whatever happens, the object is whole or absent, the first bytes stay, and time is bounded.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pytest
from pairs import labelled_unit, numbered_pairs
from s3_faults import FaultProxy, Rule
from s3_server import S3Location, S3Server

from albert_infer import storage
from albert_infer.errors import AlbertInferError, InfrastructureError, IntegrityError
from albert_infer.output.commit import Source, commit_unit, read_summary
from albert_infer.output.layout import staged_name, staged_rejected_name
from albert_infer.schema import PairColumns, Rejection
from albert_infer.storage import AccessError, Folder, S3Access
from albert_infer.storage.s3_dialect import ATTEMPTS

OURS, THEIRS = b"ours" * 1000, b"theirs"
READ_TIMEOUT_SECONDS = 1
# All waits between the attempts at their longest, each attempt timed out, and a machine that is busy.
PATIENCE_SECONDS = 15 + ATTEMPTS * READ_TIMEOUT_SECONDS + 15
FOR_EVER = None
UNIT = "0123456789abcdef"
COLUMNS = PairColumns(pair_id="pair_id", id_type=pa.string())
REJECTIONS = (None, Rejection.NULL_TEXT, None, Rejection.EMPTY_TEXT)


@dataclass(frozen=True)
class Case:
    """A fault, and what is expected: the answer or the error, the requests that came, the object afterwards."""

    rule: Rule | None
    ends: bool | type[AlbertInferError]
    requests: int
    stands: bytes | None
    before: bytes | None = None


CASES = {
    "no fault": Case(None, True, 1, OURS),
    "somebody else's object": Case(None, False, 1, THEIRS, before=THEIRS),
    "our own earlier object": Case(None, False, 1, OURS, before=OURS),
    "stored, then reset": Case(Rule("rst_after"), False, 2, OURS),
    "reset before it was sent": Case(Rule("rst_before"), True, 2, OURS),
    # Each attempt twice: the HTTP library under botocore sends once more, at once, when a connection breaks, for it may
    # have been an idle one that the server had closed.
    "no connection": Case(Rule("rst_before", times=FOR_EVER), InfrastructureError, 2 * ATTEMPTS, None),
    "a conflict": Case(Rule("status", status=409, code="ConditionalRequestConflict"), True, 2, OURS),
    "nothing but conflicts": Case(
        Rule("status", status=409, code="ConditionalRequestConflict", times=FOR_EVER),
        InfrastructureError, ATTEMPTS, None,
    ),
    "no right": Case(Rule("status", status=403, code="AccessDenied"), AccessError, 1, None),
    "an expired token": Case(Rule("status", status=403, code="ExpiredToken"), AccessError, 1, None),
    "no right to the KMS key": Case(Rule("status", status=400, code="KMS.DisabledException"), AccessError, 1, None),
    "a short storm of 503": Case(Rule("status", times=ATTEMPTS - 1), True, ATTEMPTS, OURS),
    "a long storm of 503": Case(Rule("status", times=FOR_EVER), InfrastructureError, ATTEMPTS, None),
    "a long storm of 500": Case(
        Rule("status", status=500, code="InternalError", times=FOR_EVER), InfrastructureError, ATTEMPTS, None
    ),
    "an error with status 200": Case(Rule("ok200err", code="InternalError"), True, 2, OURS),
    "errors with status 200": Case(
        Rule("ok200err", code="InternalError", times=FOR_EVER), InfrastructureError, ATTEMPTS, None
    ),
    "a hang": Case(Rule("hang", seconds=30), True, 2, OURS),
    "nothing but hangs": Case(Rule("hang", seconds=30, times=FOR_EVER), InfrastructureError, ATTEMPTS, None),
    "a slow answer": Case(Rule("delay", seconds=READ_TIMEOUT_SECONDS / 3), True, 1, OURS),
}  # fmt: skip


@dataclass(frozen=True)
class Found:
    """What came of a case."""

    ends: bool | type[AlbertInferError]
    exit_code: int
    seconds: float
    requests: int = 0
    stands: bytes | None = None


@pytest.fixture(scope="module")
def found(s3_server: S3Server) -> Iterator[dict[str, Found]]:
    """All cases at once, for their time is waiting; each has a client of its own, and so its own retry budget."""
    place = s3_server.location("put-if-absent")
    direct = s3_server.location("put-if-absent").client()
    names = {case: f"{number:02}" for number, case in enumerate(CASES)}
    for case, name in names.items():
        if (before := CASES[case].before) is not None:
            direct.put_object(Bucket=place.bucket, Key=f"{place.prefix}/{name}", Body=before)
    rules = [
        Rule(**{**vars(told.rule), "method": "PUT", "path": f"/{names[case]}$"})
        for case, told in CASES.items()
        if told.rule is not None
    ]
    with pytest.MonkeyPatch.context() as environment, FaultProxy(place.endpoint, rules) as proxy:
        for variable, value in place.env.items():
            environment.setenv(variable, value)
        access = S3Access(proxy.endpoint, read_timeout_seconds=READ_TIMEOUT_SECONDS)
        with ThreadPoolExecutor(len(CASES)) as threads:
            ends = list(threads.map(lambda name: put(storage.open_folder(place.uri, access), name), names.values()))
        folder = storage.open_folder(place.uri, S3Access(place.endpoint))
        yield {
            case: replace(end, requests=len(proxy.seen("PUT", f"/{name}$")), stands=stands(folder, name))
            for (case, name), end in zip(names.items(), ends, strict=True)
        }
        wanted = {told.rule.action for told in CASES.values() if told.rule}
        assert set(proxy.faults) == wanted


def put(folder: Folder, name: str) -> Found:
    begun = time.monotonic()
    try:
        created = folder.put_if_absent(name, OURS)
    except AlbertInferError as error:
        return Found(type(error), error.exit_code, time.monotonic() - begun)
    return Found(created, 0, time.monotonic() - begun)


def stands(folder: Folder, name: str) -> bytes | None:
    return folder.read(name) if folder.stat(name) else None


@pytest.mark.s3
@pytest.mark.parametrize("case", CASES)
def test_a_put_to_s3_ends_as_told_leaves_whole_bytes_or_none_and_is_bounded(case: str, found: dict[str, Found]) -> None:
    expected, ended = CASES[case], found[case]
    assert (ended.ends, ended.requests, ended.stands) == (expected.ends, expected.requests, expected.stands)
    assert ended.exit_code == (0 if isinstance(expected.ends, bool) else InfrastructureError.exit_code)
    assert ended.seconds < PATIENCE_SECONDS


@pytest.mark.s3
def test_a_unit_whose_replies_are_lost_is_recognised_as_ours(s3_bucket: S3Location) -> None:
    lost = [Rule("rst_after", "PUT", staged_name(UNIT)), Rule("rst_after", "PUT", staged_rejected_name(UNIT))]
    with FaultProxy(s3_bucket.endpoint, [*lost, Rule("flip", "GET", times=2)]) as proxy:
        folder = storage.open_folder(s3_bucket.uri, S3Access(proxy.endpoint))
        commit(folder)
        assert proxy.faults == Counter(rst_after=2, flip=2)
    assert_whole(folder=storage.open_folder(s3_bucket.uri))


@pytest.mark.s3
def test_a_unit_refused_by_s3_ends_the_run_with_exit_code_4_and_leaves_nothing(s3_bucket: S3Location) -> None:
    with FaultProxy(s3_bucket.endpoint, [Rule("status", "PUT", status=403, code="AccessDenied")]) as proxy:
        with pytest.raises(AccessError) as error:
            commit(storage.open_folder(s3_bucket.uri, S3Access(proxy.endpoint)))
        assert proxy.faults
    assert error.value.exit_code == 4
    assert storage.open_folder(s3_bucket.uri).objects() == []


@pytest.mark.parametrize("name", [staged_name(UNIT), staged_rejected_name(UNIT)])
def test_a_foreign_object_under_a_units_name_is_an_integrity_error_and_stays(folder: Folder, name: str) -> None:
    folder.put_if_absent(name, THEIRS)
    with pytest.raises(IntegrityError) as error:
        commit(folder)
    assert error.value.exit_code == 5
    assert folder.read(name) == THEIRS


def test_an_object_of_the_same_unit_with_other_rejections_is_an_integrity_error(folder: Folder) -> None:
    commit(folder, REJECTIONS[::-1])
    commit(folder, REJECTIONS)  # as many of each kind: the same split, as far as the summaries tell
    with pytest.raises(IntegrityError):
        commit(folder, (None, None, None, None))


def test_a_unit_that_stands_already_is_accepted_and_not_written_again(folder: Folder) -> None:
    commit(folder)
    before = folder.objects()
    commit(folder)
    assert folder.objects() == before
    assert_whole(folder)


def test_no_right_to_a_local_folder_is_told_and_nothing_is_left(tmp_path: Path) -> None:
    with another_users_folder() as closed, pytest.raises(AccessError, match="Permission denied") as error:
        commit(storage.open_folder(str(closed)))
    assert error.value.exit_code == 4


def test_a_full_disk_leaves_neither_object_nor_temporary_file_and_the_next_try_succeeds(tmp_path: Path) -> None:
    with small_file_system(tmp_path) as full:
        folder = storage.open_folder(str(full))
        folder.put_if_absent("before", OURS)
        with pytest.raises(InfrastructureError, match="No space left") as error:
            folder.put_if_absent("big", b"x" * (2 << 20))
        assert error.value.exit_code == 4
        assert [path.name for path in full.iterdir()] == ["before"]
        assert folder.put_if_absent("big", OURS)


@pytest.mark.process
def test_a_kill_between_the_temporary_file_and_its_final_name_leaves_no_object(tmp_path: Path) -> None:
    script = """
import os, signal, sys
from albert_infer import storage
sys.addaudithook(lambda event, _: os.kill(os.getpid(), signal.SIGKILL) if event == "os.link" else None)
storage.open_folder(sys.argv[1]).put_if_absent("a", b"half?")
"""
    killed = subprocess.run([sys.executable, "-c", script, tmp_path], check=False, env=os.environ)
    assert killed.returncode == -9
    folder = storage.open_folder(str(tmp_path))
    assert [path.stat().st_size for path in tmp_path.iterdir()] == [5], "the bytes were there, without their name"
    assert folder.objects() == []
    assert folder.put_if_absent("a", OURS)
    assert folder.read("a") == OURS


def commit(folder: Folder, rejections: tuple[Rejection | None, ...] = REJECTIONS) -> None:
    rows = labelled_unit(UNIT, numbered_pairs(len(rejections)), rejections, COLUMNS)
    commit_unit(folder, UNIT, Source("s3://in/a.parquet", 0, len(rejections)), rows, COLUMNS)


def assert_whole(folder: Folder) -> None:
    assert [pin.name for pin in folder.objects()] == [staged_name(UNIT), staged_rejected_name(UNIT)]
    for pin in folder.objects():
        summary = read_summary(folder.read(pin.name))
        assert summary is not None
        assert (summary.unit_id, summary.rows_in, summary.rejected_rows) == (UNIT, 4, 2)


@contextmanager
def another_users_folder() -> Iterator[Path]:
    """A folder in which this user may not write; root becomes nobody while the block runs."""
    with TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o555)
        before = os.geteuid()
        if before == 0:
            os.seteuid(65534)
        try:
            yield Path(folder)
        finally:
            os.seteuid(before)
            assert list(Path(folder).iterdir()) == []


@contextmanager
def small_file_system(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB; only root may mount one."""
    mounted = tmp_path / "small"
    mounted.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", mounted], check=False).returncode:
        pytest.skip("no right to mount a file system")
    try:
        yield mounted
    finally:
        subprocess.run(["umount", mounted], check=True)
