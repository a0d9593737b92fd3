"""No credential and no sentence leaves its place: a job that fails and one that publishes, searched for canaries."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from job_runs import JOB as PROGRAM
from job_runs import (
    break_page,
    family_of,
    made_up_pairs,
    run_alone,
    started,
    tiny_checkpoint,
    title_of,
    wait_until,
    write_pairs,
)
from s3_faults import FaultProxy, Rule
from s3_place import Place
from s3_server import JOB, S3Server

pytestmark = [pytest.mark.ray, pytest.mark.s3]

TOKEN = "session-token-n3verpr1nt"  # noqa: S105  (the canary of one)
CREDENTIALS = (*JOB, TOKEN)
# One in a good row, in rejected ones, in a file that is no Parquet, in a damaged page, in a file cut off.
WORDS = ("canarygood", "canaryreject", "canarytext", "canarypage", "canarycut")


@pytest.fixture
def ray_folder() -> Iterator[Path]:
    """Where Ray keeps its session; short, for its sockets lie below."""
    with TemporaryDirectory(dir="/tmp", prefix="rs") as folder:
        yield Path(folder)


def unfit_input(folder: Path) -> Path:
    """Two good units, rows that are rejected, and three files that cannot be read; each with its canary."""
    pairs = made_up_pairs(32, seed=31).to_pydict()
    pairs["premise"][3] = "w1 canarygood w2"
    pairs["premise"][7] = "canaryreject " * 100_000
    pairs["hypothesis"][9] = ""
    pairs["premise"][9] = "canaryreject"
    write_pairs(folder / "a.parquet", pa.table(pairs))
    (folder / "b.parquet").write_bytes(b"canarytext " * 50)
    spoilt = made_up_pairs(16, seed=32).set_column(1, "premise", pa.array(["canarypage " * 30] * 16))
    pq.write_table(spoilt, folder / "c.parquet", compression="none", use_dictionary=False, write_page_checksum=True)
    break_page(folder / "c.parquet", 0)
    cut = write_pairs(folder / "d.parquet", spoilt.set_column(1, "premise", pa.array(["canarycut"] * 16)))
    cut.write_bytes(cut.read_bytes()[:-200])
    return folder


@dataclass(frozen=True)
class Watched:
    """What a job showed of itself: how it ended, its streams, and every command line of its processes."""

    exit_code: int
    streams: str
    command_lines: frozenset[str]


def watched(argv: tuple[object, ...], env: Mapping[str, str]) -> Watched:
    """Run the job and look at its processes all the while."""
    lines: set[str] = set()
    with TemporaryDirectory() as folder, (Path(folder) / "streams").open("w+") as streams:
        # To a file: a pipe that nobody reads while we look would fill and stop the job.
        with started(
            ["sh", "-c", f'exec "$@" >{streams.name} 2>&1', "sh", sys.executable, PROGRAM, *argv], env=env
        ) as job:

            def ended() -> bool:
                lines.update(map(title_of, family_of(job.pid)))
                return job.poll() is not None

            # A look costs milliseconds, and a program of the job lives for longer than this.
            wait_until(ended, every=0.2)
        return Watched(job.returncode, streams.read(), frozenset(lines))


def everything_in(place: Place) -> dict[str, str]:
    """Every object of the output, as its bytes and, if it is Parquet, as what it says and holds."""
    found = {}
    for name in place.names():
        data = place.read(name)
        found[name] = data.decode("latin-1")
        if name.endswith(".parquet"):
            table = pq.read_table(io.BytesIO(data))
            found[name] += f"{table.schema.metadata} {table.to_pylist()}"
    return found


def logs_below(folder: Path) -> dict[str, str]:
    """Every log of every Ray session, the older ones too."""
    files = [path for path in folder.rglob("session_2*/logs/**/*") if path.is_file() and not path.is_symlink()]
    assert len(files) > 5, "Ray keeps its logs elsewhere now"
    return {str(path): path.read_bytes().decode("latin-1") for path in files}


def holding(words: tuple[str, ...], texts: Mapping[str, str]) -> list[tuple[str, str]]:
    """Which word is in which text."""
    return [(word, name) for name, text in texts.items() for word in words if word in text]


def test_no_credential_and_no_sentence_is_shown_by_a_job_that_fails_or_by_one_that_publishes(
    s3_server: S3Server, tmp_path: Path, ray_folder: Path
) -> None:
    place = Place(s3_server.location(uuid4().hex[:12]))
    place.upload(unfit_input(tmp_path / "in"))
    model = tiny_checkpoint(tmp_path / "checkpoint")
    env = {**place.location.job_env, "RAY_TMPDIR": str(ray_folder)}
    limits = ("--max-bad-files", 3, "--max-rejected-share", 0.5, "--unit-rows", 16, "--model", model)

    with FaultProxy(
        place.location.endpoint, [Rule("status", "PUT", "/_units/", skip=1, times=None, status=403)]
    ) as proxy:
        failed = watched(place.argv(*limits, "--s3-endpoint", proxy.endpoint, "--debug"), env)
        assert proxy.faults
    published = watched(place.argv(*limits), env)

    assert (failed.exit_code, published.exit_code) == (4, 0), (failed.streams, published.streams)
    assert place.manifest()["quarantined"]["files"]
    streams = {"failed": failed.streams, "published": published.streams}
    lines = {line: line for line in failed.command_lines | published.command_lines}
    assert any("ClassifyActor" in line for line in lines), "the workers were seen"
    objects, logs = everything_in(place), logs_below(ray_folder)
    assert holding(CREDENTIALS, {**streams, **lines, **objects, **logs}) == []
    told = {name: text for name, text in objects.items() if name.startswith(("_runs/", "_SUCCESS"))}
    assert len(told) == 6, "plan, the mark of the second start, seal, report, its page and manifest"
    quarantines = {name: text for name, text in objects.items() if name.endswith(".json")}
    rejected = {name: text for name, text in objects.items() if "reject" in name}
    assert holding(WORDS, {**streams, **lines, **told, **quarantines, **rejected, **logs}) == []
    assert holding(("canarygood",), objects), "the canary sings where it belongs"


def test_a_session_token_that_is_refused_is_not_shown(s3_server: S3Server, tmp_path: Path) -> None:
    place = Place(s3_server.location(uuid4().hex[:12]))
    place.upload(write_pairs(tmp_path / "a.parquet", made_up_pairs(4, seed=33)))
    outcome = run_alone(*place.argv("--debug"), env={**place.location.job_env, "AWS_SESSION_TOKEN": TOKEN})
    assert outcome.exit_code == 2
    assert holding(CREDENTIALS, {"stdout": outcome.stdout, "stderr": outcome.stderr}) == []
    assert place.names() == set()
