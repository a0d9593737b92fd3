"""The whole labelling job with no more rights than it needs: a job without the right to delete, and one that has it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from uuid import uuid4

import pytest
from job_runs import Outcome, made_up_pairs, run_inline, write_pairs
from s3_faults import FaultProxy, Rule
from s3_place import Place
from s3_server import S3Location, S3Server

from albert_infer import storage
from albert_infer.errors import OutputError
from albert_infer.storage import AccessError

pytestmark = pytest.mark.s3


@pytest.fixture
def place(s3_server: S3Server, checkpoint: Path) -> Place:
    made = Place(s3_server.location(uuid4().hex[:12]))
    made.upload(checkpoint, "in/model")
    return made


def test_a_job_that_may_not_delete_publishes_and_replaces_and_tells_what_it_leaves(
    place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    become(monkeypatch, place.location.job_env)
    first, second = two_nights(place, tmp_path)

    outcome = run(place)
    assert (outcome.exit_code, outcome.errors) == (0, []), outcome.stderr
    assert place.published_ids() == first
    assert (len(place.names("_units/")), place.leftovers()) == (3, 3)
    assert "3 unneeded files not deleted, which is harmless: S3 answered AccessDenied (403)" in outcome.stdout
    assert "grant s3:DeleteObject" in outcome.stdout
    again = run(place)
    assert (again.exit_code, again.errors) == (0, []), again.stderr

    write_pairs(tmp_path / "a.parquet", made_up_pairs(24, seed=22))
    place.upload(tmp_path / "a.parquet")
    before = place.names("part-")
    outcome = run(place, "--replace")
    assert (outcome.exit_code, outcome.errors) == (0, []), outcome.stderr
    assert place.published_ids() == second
    assert before < place.names("part-"), "the replaced files stay"
    assert place.leftovers() == len(before) + len(place.manifest()["files"])


def test_a_job_that_may_delete_below_the_output_leaves_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    become(monkeypatch, place.location.keeper_env)
    first, second = two_nights(place, tmp_path)

    outcome = run(place)
    assert (outcome.exit_code, outcome.errors) == (0, []), outcome.stderr
    assert (place.published_ids(), place.names("_units/"), place.leftovers()) == (first, set(), 0)

    write_pairs(tmp_path / "a.parquet", made_up_pairs(24, seed=22))
    place.upload(tmp_path / "a.parquet")
    outcome = run(place, "--replace")
    assert (outcome.exit_code, outcome.errors) == (0, []), outcome.stderr
    assert place.published_ids() == second
    assert place.names("part-") == {entry["path"] for entry in place.manifest()["files"]}
    assert (place.names("_units/"), place.leftovers()) == (set(), 0)


def become(monkeypatch: pytest.MonkeyPatch, credentials: Mapping[str, str]) -> None:
    """Give this process the credentials."""
    for name, value in credentials.items():
        monkeypatch.setenv(name, value)


def run(place: Place, *more: object) -> Outcome:
    model = ("--model", f"{place.location.uri}/in/model", "--unit-rows", 16)
    return run_inline(*place.argv(*model, "--s3-endpoint", place.location.endpoint, *more))


def two_nights(place: Place, tmp_path: Path) -> tuple[list[str], list[str]]:
    """Upload the input of the first night; the ids of both nights, sorted."""
    first, second = made_up_pairs(40, seed=21), made_up_pairs(24, seed=22)
    place.upload(write_pairs(tmp_path / "a.parquet", first))
    return sorted(first["pair_id"].to_pylist()), sorted(second["pair_id"].to_pylist())


@pytest.mark.parametrize("identity", ["job", "keeper"])
def test_the_jobs_rights_end_at_its_input_and_output(
    s3_bucket: S3Location, monkeypatch: pytest.MonkeyPatch, identity: str
) -> None:
    for below in ("in", "out", "elsewhere"):
        storage.open_folder(f"{s3_bucket.uri}/{below}").put_if_absent("a", b"x")
    become(monkeypatch, s3_bucket.job_env if identity == "job" else s3_bucket.keeper_env)
    source, output, elsewhere = (storage.open_folder(f"{s3_bucket.uri}/{n}") for n in ("in", "out", "elsewhere"))
    assert (source.read("a"), output.read("a")) == (b"x", b"x")
    storage.check_writable(output)
    refused: list[Callable[[], object]] = [
        lambda: source.put_if_absent("b", b"x"),
        lambda: source.delete(["a"]),
        lambda: elsewhere.read("a"),
        lambda: elsewhere.objects(),
        lambda: elsewhere.put_if_absent("b", b"x"),
        lambda: elsewhere.delete(["a"]),
        *([lambda: output.delete(["a"])] if identity == "job" else []),
    ]
    for use in refused:
        with pytest.raises(AccessError, match="s3:"):
            use()
    with pytest.raises(OutputError, match="s3:PutObject"):
        storage.check_writable(source)
    if identity == "keeper":
        output.delete(["a"])
        assert output.objects() == []


def test_what_is_not_there_is_told_from_what_may_not_be_read(s3_bucket: S3Location) -> None:
    # AWS answers so where the right to list has a condition on the prefix; SeaweedFS answers 404.
    with FaultProxy(s3_bucket.endpoint, [Rule("status", "HEAD", status=403, times=None)]) as proxy:
        folder = storage.open_folder(s3_bucket.uri, storage.S3Access(proxy.endpoint))
        folder.put_if_absent("_SUCCESS.d/a", b"x")
        assert folder.stat("_SUCCESS") is None
        folder.put_if_absent("a", b"x")
        with pytest.raises(AccessError, match="s3:GetObject"):
            folder.stat("a")
        storage.check_writable(folder)
        assert proxy.faults["status"] == 3
