"""S3: rights and credentials on a real server, and failures that a healthy server does not have on demand."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow.parquet as pq
import pytest
from pins import parquet_bytes, pinned
from s3_faults import FaultProxy, Rule
from s3_server import READER, SERVER_TEXT, WRITER, Reply, S3Location, ScriptedS3, error_reply

from albert_infer import storage
from albert_infer.config import CleanSettings, VerifySettings
from albert_infer.errors import (
    AlbertInferError,
    InfrastructureError,
    InputError,
    ObjectChangedError,
    ObjectMissingError,
    OutputError,
)
from albert_infer.operations.cleaning import clean_runs
from albert_infer.storage.s3_errors import reply_error
from albert_infer.verification import verify_labels

pytestmark = pytest.mark.s3
PARQUET = parquet_bytes()


def test_an_object_and_a_folder_of_one_name_stand_side_by_side(s3_bucket: S3Location) -> None:
    folder = storage.open_folder(s3_bucket.uri)
    assert folder.put_if_absent("a", b"outer")  # first: after `a/b` SeaweedFS, unlike AWS, takes it for a folder
    assert folder.put_if_absent("a/b", b"inner")
    assert [pin.name for pin in folder.objects()] == ["a", "a/b"]
    assert folder.read("a") == b"outer"
    with pytest.raises(InputError, match="both"):
        storage.resolve_input(folder.uri_of("a"))
    assert [p.name for p in storage.resolve_input(folder.uri_of("a/")).pins] == ["b"]


def test_directory_markers_are_no_objects(s3_bucket: S3Location) -> None:
    for key in (f"{s3_bucket.prefix}/", f"{s3_bucket.prefix}/d/"):
        s3_bucket.client().put_object(Bucket=s3_bucket.bucket, Key=key, Body=b"")
    assert storage.open_folder(s3_bucket.uri).objects() == []


def test_an_s3_object_that_changes_while_it_is_read_stops_the_read(s3_bucket: S3Location) -> None:
    folder = storage.open_folder(s3_bucket.uri)
    folder.put_if_absent("a.parquet", PARQUET)
    with folder.open_pinned(pinned(folder, "a.parquet")) as source:
        file = pq.ParquetFile(source, pre_buffer=True)
        folder.replace("a.parquet", b"y" * len(PARQUET), pinned(folder, "a.parquet"))
        with pytest.raises(ObjectChangedError):
            file.read_row_group(0)
        folder.delete(["a.parquet"])
        with pytest.raises(ObjectMissingError):
            file.read_row_group(0)


def test_a_bucket_that_is_missing_is_said(s3_bucket: S3Location) -> None:
    nowhere = storage.open_folder("s3://no-such-bucket/out", storage.S3Access(s3_bucket.endpoint))
    with pytest.raises(OutputError, match="bucket does not exist"):
        storage.check_writable(nowhere)
    with pytest.raises(InputError, match="bucket does not exist"):
        storage.resolve_input(nowhere.uri, storage.S3Access(s3_bucket.endpoint))
    with pytest.raises(storage.AccessError, match="bucket does not exist"):
        nowhere.put_if_absent("a", b"x")


def test_missing_rights_are_named(s3_bucket: S3Location, monkeypatch: pytest.MonkeyPatch) -> None:
    storage.open_folder(s3_bucket.uri).put_if_absent("a", b"x")
    for name, value in s3_bucket.reader_env.items():
        monkeypatch.setenv(name, value)
    folder = storage.open_folder(s3_bucket.uri)
    assert folder.read("a") == b"x"
    with pytest.raises(OutputError, match="s3:PutObject"):
        storage.check_writable(folder)
    with pytest.raises(storage.AccessError, match=r"grant s3:PutObject") as refused:
        folder.put_if_absent("b", b"x")
    assert folder.uri_of("b") in str(refused.value)
    with pytest.raises(storage.AccessError, match="s3:DeleteObject"):
        folder.delete(["a"])


@pytest.mark.parametrize("identity", [(WRITER[0], "wr0ng-n3verpr1nt"), ("n0b0dy-n3verpr1nt", "x"), (None, None)])
def test_credentials_that_are_refused_or_missing_are_said_and_never_shown(
    s3_bucket: S3Location, monkeypatch: pytest.MonkeyPatch, identity: tuple[str | None, str | None]
) -> None:
    for name, value in zip(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), identity, strict=True):
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)
    folder = storage.open_folder(s3_bucket.uri)
    uses: list[Callable[[], object]] = [
        lambda: storage.check_writable(folder),
        lambda: storage.resolve_input(s3_bucket.uri),
        lambda: folder.read("a"),
        lambda: folder.put_if_absent("a", b"x"),
        folder.objects,
    ]
    for use in uses:
        with pytest.raises(AlbertInferError, match="credentials") as error:
            use()
        assert "n3verpr1nt" not in f"{error.value} {error.value.args}"


def test_a_pickled_folder_holds_no_credentials(s3_bucket: S3Location) -> None:
    folder = storage.open_folder(s3_bucket.uri, storage.S3Access(s3_bucket.endpoint))
    folder.put_if_absent("a", b"x")
    frozen = pickle.dumps(folder)
    assert not any(secret.encode() in frozen for identity in (WRITER, READER) for secret in identity)


def test_a_dead_request_costs_five_tries_in_all_and_shows_no_text_of_the_server(given_up: GivenUp) -> None:
    assert "SlowDown" in given_up.dead
    assert given_up.requests == 5
    assert SERVER_TEXT not in given_up.dead


def test_an_error_told_with_status_200_is_never_taken_for_an_answer(s3_bucket: S3Location) -> None:
    with FaultProxy(s3_bucket.endpoint) as proxy:
        folder = storage.open_folder(s3_bucket.uri, storage.S3Access(proxy.endpoint))
        pin = storage.ObjectPin("a", len(PARQUET), hashlib.md5(PARQUET, usedforsecurity=False).hexdigest())
        uses: dict[str, tuple[Callable[[], object], object]] = {
            "put": (lambda: folder.put_if_absent("a", PARQUET), True),
            "swap": (lambda: folder.replace("b", PARQUET, None), True),
            "copy": (lambda: folder.copy(pin, "c").name, "c"),
            "read": (lambda: folder.read("c"), PARQUET),
            "list": (lambda: [pin.name for pin in folder.objects()], ["a", "b", "c"]),
            "delete": (lambda: folder.delete(["a"]), None),
        }
        for number, (what, (use, answer)) in enumerate(uses.items(), 1):
            proxy.set_rules([Rule("ok200err", code="InternalError")])
            assert use() == answer, what
            assert proxy.faults["ok200err"] == number, what
        assert [pin.name for pin in folder.objects()] == ["b", "c"]


def test_a_byte_that_flips_on_the_way_is_fetched_again_and_never_given(s3_bucket: S3Location) -> None:
    with FaultProxy(s3_bucket.endpoint, [Rule("flip", "GET", times=2)]) as proxy:
        folder = storage.open_folder(s3_bucket.uri, storage.S3Access(proxy.endpoint))
        folder.put_if_absent("a", PARQUET)
        folder.copy(pinned(folder, "a"), "b")
        for name in ("a", "b"):  # a copy keeps the checksum
            proxy.set_rules([Rule("flip", "GET", times=2)])
            assert folder.read(name) == PARQUET
        proxy.set_rules([Rule("flip", "GET", times=None)])
        with pytest.raises(InfrastructureError, match="FlexibleChecksumError"):
            folder.read("a")
        assert proxy.faults["flip"] == 7


def test_every_request_that_is_sent_again_is_counted_and_no_other(s3_bucket: S3Location) -> None:
    with FaultProxy(s3_bucket.endpoint) as proxy:
        folder, before = storage.open_folder(s3_bucket.uri, storage.S3Access(proxy.endpoint)), storage.s3_retries()
        assert folder.put_if_absent("a", PARQUET)
        assert not folder.put_if_absent("a", PARQUET), "412 is an answer"
        assert storage.s3_retries() == before
        proxy.set_rules([Rule("status", "PUT", times=2), Rule("truncate", "GET"), Rule("status", "HEAD")])
        assert folder.put_if_absent("b", PARQUET)
        assert folder.read("a") == PARQUET
        assert pinned(folder, "b").size == len(PARQUET)
        assert storage.s3_retries() - before == proxy.faults.total() == 4


def test_a_put_whose_reply_is_lost_is_found_again(aws_identity: None) -> None:
    lost, failed = error_reply(500, "InternalError"), error_reply(412, "PreconditionFailed")
    with ScriptedS3(lost, failed) as server:
        assert not scripted(server).put_if_absent("a", b"x")
    with ScriptedS3(lost, failed, Reply(200, b"x")) as server:
        assert scripted(server).replace("a", b"x", None)
    with ScriptedS3(lost, failed, Reply(200, b"somebody else's")) as server:
        assert not scripted(server).replace("a", b"x", None)


def test_a_body_that_breaks_off_is_fetched_again_and_never_given_short(aws_identity: None) -> None:
    broken = Reply(200, b"0123456789", sent=4)
    with ScriptedS3(broken, broken, Reply(200, b"0123456789")) as server:
        assert scripted(server).read("a") == b"0123456789"
    with ScriptedS3(broken, broken, broken) as server, pytest.raises(InfrastructureError, match="no whole answer"):
        scripted(server).read("a")


def test_a_server_that_ignores_the_range_gives_no_wrong_bytes(aws_identity: None) -> None:
    head = Reply(200, headers={"Content-Length": "10", "ETag": '"e"'})
    with ScriptedS3(head, Reply(200, b"0123456789")) as server:
        source = scripted(server).open_pinned(storage.ObjectPin("a", 10, "e"))
        source.seek(5)
        with pytest.raises(InfrastructureError, match="10 bytes for a range of 2"):
            source.read(2)


def test_a_server_that_ignores_conditions_is_refused(aws_identity: None) -> None:
    listing = Reply(200, b"<ListBucketResult></ListBucketResult>")
    with ScriptedS3(listing, Reply(404), Reply(200)) as server, pytest.raises(OutputError, match="ignores"):
        storage.check_writable(scripted(server))


def test_a_server_that_keeps_if_match_but_not_if_none_match_is_refused(aws_identity: None) -> None:
    with ScriptedS3(*[Reply(200)] * 5) as server, pytest.raises(OutputError, match="ignores If-None-Match"):
        storage.check_conditional(scripted(server), "plan.json", b"plan")
    with ScriptedS3(error_reply(412, "PreconditionFailed")) as server:
        storage.check_conditional(scripted(server), "plan.json", b"plan")


def test_a_listing_goes_on_to_its_last_page(aws_identity: None) -> None:
    def page(name: str, more: str) -> Reply:
        entry = f'<Contents><Key>out/{name}</Key><Size>1</Size><ETag>"e"</ETag></Contents>'
        return Reply(200, f"<ListBucketResult>{more}{entry}</ListBucketResult>".encode())

    more = "<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>"
    with ScriptedS3(page("b", more), page("a", "")) as server:
        assert [pin.name for pin in scripted(server).objects()] == ["a", "b"]
        assert "continuation-token=t" in server.requests[1]


def test_a_delete_that_fails_for_one_key_is_raised_and_a_missing_key_is_not(aws_identity: None) -> None:
    def reply(code: str) -> Reply:
        error = f"<Error><Key>out/a</Key><Code>{code}</Code></Error>"
        return Reply(200, f"<DeleteResult>{error}</DeleteResult>".encode())

    with ScriptedS3(reply("NoSuchKey")) as server:
        scripted(server).delete(["a"])
    for code, error in (("AccessDenied", storage.AccessError), ("InternalError", InfrastructureError)):
        with ScriptedS3(reply(code)) as server, pytest.raises(error, match=f"s3://bucket/out/a: S3 answered {code}"):
            scripted(server).delete(["a"])


def test_a_listing_without_a_token_goes_on_after_its_last_key(aws_identity: None) -> None:
    def page(*names: str, more: bool) -> Reply:
        entries = (f'<Contents><Key>out/{name}</Key><Size>1</Size><ETag>"e"</ETag></Contents>' for name in names)
        truncated = f"<IsTruncated>{str(more).lower()}</IsTruncated>"
        return Reply(200, f"<ListBucketResult>{truncated}{''.join(entries)}</ListBucketResult>".encode())

    with ScriptedS3(page("a", "b", more=True), page("c", more=False)) as server:
        assert [pin.name for pin in scripted(server).objects()] == ["a", "b", "c"]
        assert "start-after=out%2Fb" in server.requests[1]
    for pages in ([page("a", more=True), page("a", more=True)], [page(more=True)]):
        with (
            ScriptedS3(*pages) as server,
            pytest.raises(storage.AccessError, match="position of the next page; use an S3"),
        ):
            scripted(server).objects()


def test_a_server_that_demands_the_md5_of_a_delete_gets_it(s3_bucket: S3Location) -> None:
    demands = Rule("status", "POST", "delete", status=400, code="MissingContentMD5", without="content-md5", times=None)
    with FaultProxy(s3_bucket.endpoint, [demands]) as proxy:
        folder = storage.open_folder(s3_bucket.uri, storage.S3Access(proxy.endpoint))
        folder.put_if_absent("a", b"x")
        folder.delete(["a"])
        assert (folder.objects(), proxy.seen("DELETE")) == ([], [])
    assert len(proxy.seen("POST")) == 1, "and that is all that it takes"


@pytest.mark.parametrize(
    ("status", "code"), [(400, "MissingContentMD5"), (405, "MethodNotAllowed"), (501, "NotImplemented")]
)
def test_a_server_that_does_not_delete_many_deletes_one_by_one(s3_bucket: S3Location, status: int, code: str) -> None:
    with FaultProxy(s3_bucket.endpoint, [Rule("status", "POST", status=status, code=code, times=None)]) as proxy:
        folder = storage.open_folder(s3_bucket.uri, storage.S3Access(proxy.endpoint))
        for name in ("a", "b ü", "kept"):
            folder.put_if_absent(name, b"x")
        folder.delete(["a", "b ü", "not there"])
        assert [pin.name for pin in folder.objects()] == ["kept"]
    assert (proxy.faults["status"], len(proxy.seen("DELETE"))) == (1, 3)


def test_a_delete_without_the_right_is_not_tried_one_by_one(s3_bucket: S3Location) -> None:
    denied = Rule("status", "POST", status=403, code="AccessDenied", times=None)
    with FaultProxy(s3_bucket.endpoint, [denied]) as proxy:
        with pytest.raises(storage.AccessError, match="grant s3:DeleteObject"):
            storage.open_folder(s3_bucket.uri, storage.S3Access(proxy.endpoint)).delete(["a"])
        assert proxy.seen("DELETE") == []
    assert proxy.faults["status"] == 1


@pytest.mark.parametrize("method", ["HEAD", "GET", "PUT"])
def test_an_etag_that_a_proxy_marks_as_weak_is_the_same_etag(s3_bucket: S3Location, method: str) -> None:
    direct = storage.open_folder(s3_bucket.uri)
    direct.put_if_absent("a", PARQUET)
    (pin,) = direct.objects()
    # In a header, and in the XML of a listing or a copy.
    weak = Rule("rewrite", method, times=None, find="(?i)(\\netag: |<etag>)", put=r"\1W/")
    with FaultProxy(s3_bucket.endpoint, [weak]) as proxy:
        folder = storage.open_folder(s3_bucket.uri, storage.S3Access(proxy.endpoint))
        assert folder.objects() == [pin] == [folder.stat("a")]
        with folder.open_pinned(pin) as file:
            assert file.read() == PARQUET
        found, data = folder.pinned_read("a")
        assert (found, data) == (pin, PARQUET)
        copied = folder.copy(pin, "b")
        assert copied == direct.stat("b")
        assert folder.replace("b", b"y", copied)
    assert proxy.faults["rewrite"] > 0


def test_a_listing_without_etags_is_completed_object_by_object(s3_bucket: S3Location) -> None:
    direct = storage.open_folder(s3_bucket.uri)
    for name in ("a", "b"):
        direct.put_if_absent(name, name.encode())
    with FaultProxy(s3_bucket.endpoint, [Rule("rewrite", "GET", times=None, find="<ETag>.*?</ETag>")]) as proxy:
        folder = storage.open_folder(s3_bucket.uri, storage.S3Access(proxy.endpoint))
        assert folder.objects() == direct.objects()
        assert folder.stored() == direct.stored()
    assert proxy.faults["rewrite"] == 2


@pytest.mark.parametrize(
    ("status", "code", "told"),
    [
        (403, "RequestTimeTooSkewed", "the clock of this machine differs too much from the server's"),
        (400, "AuthorizationHeaderMalformed", "signed for another region .*; set AWS_DEFAULT_REGION"),
        (301, "PermanentRedirect", "at another endpoint.*; set AWS_DEFAULT_REGION .*, or correct --s3-endpoint"),
        (400, "InvalidToken", "the credentials were refused"),
        (403, "InvalidAccessKeyId", "the credentials were refused"),
        (400, "InvalidRequest", r"S3 answered InvalidRequest \(400\); .*docs/how-to/stores.md"),
        (403, "AccessDenied", "grant s3:"),
    ],
)
def test_an_answer_that_stays_the_same_is_refused_at_the_start_with_its_cause(
    s3_bucket: S3Location, status: int, code: str, told: str
) -> None:
    answer = Rule("status", status=status, code=code, times=None)
    with FaultProxy(s3_bucket.endpoint, [answer]) as proxy:
        access = storage.S3Access(proxy.endpoint)
        with pytest.raises(OutputError, match=told) as refused:
            storage.check_writable(storage.open_folder(s3_bucket.uri, access))
        # The first request of an input is a HEAD, whose answer has no body to say why.
        with pytest.raises(InputError, match=told):
            storage.resolve_input(s3_bucket.uri, access)
        with pytest.raises(OutputError, match=told):
            verify_labels(VerifySettings(output=s3_bucket.uri, s3_endpoint=proxy.endpoint))
        with pytest.raises(InputError, match=told):
            clean_runs(CleanSettings(output_root=s3_bucket.uri, s3_endpoint=proxy.endpoint))
    assert refused.value.exit_code == 2
    assert proxy.faults["status"] >= 3


@pytest.mark.parametrize(("status", "code"), [(400, "RequestTimeout"), (409, "OperationAborted"), (429, "SlowDown")])
def test_an_answer_that_may_change_is_no_reason_to_refuse(s3_bucket: S3Location, status: int, code: str) -> None:
    error = reply_error("list_objects_v2", s3_bucket.uri, status, code)
    assert (type(error), error.remedy) == (
        InfrastructureError,
        "start the run again; it resumes from the finished units",
    )


def test_a_server_that_is_not_there_is_an_infrastructure_error(given_up: GivenUp) -> None:
    assert "check the endpoint" in given_up.nowhere


@dataclass(frozen=True)
class GivenUp:
    """What is told of a server that answers no request, with the number of its requests, and of none."""

    dead: str
    requests: int
    nowhere: str


@pytest.fixture(scope="module")
def given_up() -> GivenUp:
    """Both at once, for their time is waiting."""
    with pytest.MonkeyPatch.context() as environment, ThreadPoolExecutor(2) as threads:
        identify(environment)
        with ScriptedS3() as gone:
            pass
        with ScriptedS3(*[error_reply(503, "SlowDown")] * 9) as server:
            dead = threads.submit(scripted(server).read, "a")
            nowhere = threads.submit(scripted(gone).put_if_absent, "a", b"x")
            errors = [ended.exception() for ended in (dead, nowhere)]
            assert [type(error) for error in errors] == [InfrastructureError, InfrastructureError]
            return GivenUp(str(errors[0]), len(server.requests), str(errors[1]))


@pytest.fixture
def aws_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials for a server that does not look at them."""
    identify(monkeypatch)


def identify(environment: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        environment.setenv(name, "x")


def scripted(server: ScriptedS3) -> storage.Folder:
    return storage.open_folder("s3://bucket/out", storage.S3Access(server.endpoint))
