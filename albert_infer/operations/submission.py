"""Nights as a job on a Ray cluster: submitted under an id of their own, followed, ended with the driver's exit code.

Ray's job server starts the job and keeps its log. What goes there is the checkout, unless the nodes' image has the
package, the command, and a variable for each setting that has no flag: nothing else of this environment, and so no
secret of it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shlex
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Final
from urllib.error import HTTPError
from urllib.request import urlopen

from ray.exceptions import AuthenticationError
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

from albert_infer import __version__, storage
from albert_infer.common import logs
from albert_infer.common.printable import REASON_LETTERS, PrintableText, one_line, printed, text_of
from albert_infer.config import NightlySettings, SubmitSettings, flags_of, job_server, variables_of
from albert_infer.errors import (
    AlbertInferError,
    AtWorkError,
    InfrastructureError,
    IntegrityError,
    LimitError,
    RefusedError,
    SettingsError,
    SupersededError,
)
from albert_infer.model.checkpoint_files import name_anywhere
from albert_infer.operations.program import PROGRAM
from albert_infer.operations.uploading import INSTALLED_JOB, UPLOADED_JOB, folder_uploaded

# What a shell ends with if it does not find the program.
NO_SUCH_PROGRAM: Final = 127
# Loggers of Ray's that tell what is uploaded.
TALKATIVE: Final = ("ray._private.runtime_env.packaging", "ray.dashboard.modules.dashboard_sdk")
# What the driver's exit code means; any other one, a signal's say, is one that goes away by running it again.
KINDS: Final = {kind.exit_code: kind for kind in (RefusedError, LimitError, IntegrityError, SupersededError)}
POLL_SECONDS: Final = 1.0
# Ray lets go of an ended job's name a moment after its end, and a job that takes the id sooner fails before it starts.
SETTLING_SECONDS: Final = 10.0
# A tunnel that drops, or a dashboard that starts anew, is back within this; the job does not notice either.
UNREACHED_SECONDS: Final = 600.0
# To say which version it has; a busy head takes seconds.
ANSWER_SECONDS: Final = 30.0


@dataclass(frozen=True)
class NightJob:
    """What is submitted: the id says which nights, so that a second submit of them is seen."""

    submission_id: str
    entrypoint: str
    # The folder that is uploaded; None where the image of the nodes has the package.
    working_dir: str | None
    variables: Mapping[str, str] = field(default_factory=dict)


def submit_nights(settings: SubmitSettings, project: Path | None) -> PrintableText:
    """Submit the nights with the package and the jobs of `project`, and follow them to their end; what came as text.

    Without a `project`, or where the settings say so, the package of the nodes' image labels.

    Raises AtWorkError if a job of the same id runs, SettingsError for a location or a token that is not accepted,
    InfrastructureError if the cluster cannot be reached or the job was ended from outside; else, if the driver failed,
    an error of its exit code.
    """
    job = night_job(settings, project)
    with _reached(job):
        client = _client(settings.address)
        _make_way(job, client)
        _submit(job, client)
        if settings.no_wait:
            name = job.submission_id
            return text_of([f"submitted {name}: follow it with `ray job logs --follow {name}`"])
        _follow(job, client)
        return text_of([_judged(job, client.get_job_info(job.submission_id))])


def night_job(settings: SubmitSettings, project: Path | None) -> NightJob:
    """The job that labels the nights as they are now, with all settings: no file and no other variable goes with it.

    Raises SettingsError for a place that is no location or holds credentials, and for an endpoint that is not safe:
    whoever may look at the cluster's jobs sees the command.
    """
    nights = settings.nights  # read once, as midnight may pass
    first, last = nights[0].isoformat(), nights[-1].isoformat()
    dates = [f"--date={last}"] if first == last else [f"--since={first}", f"--until={last}"]
    said_above = {"input_root", "output_root", "model", "gold", "date", "since", "until"}
    uploaded = folder_uploaded(settings.package, project)
    command = [
        *(INSTALLED_JOB if uploaded is None else UPLOADED_JOB),
        *(f"--{name}={place}" for name, place in _places(settings).items()),
        *dates,
        *flags_of(settings, set(NightlySettings.model_fields) - said_above),
    ]
    return NightJob(
        submission_id=f"nli-{last}" if first == last else f"nli-{first}-{last}",
        entrypoint=shlex.join(command),
        working_dir=None if uploaded is None else str(uploaded),
        variables=variables_of(settings),
    )


def _places(settings: SubmitSettings) -> dict[str, str]:
    """Every place that a flag names, as what it is here: the job runs in another folder."""
    if settings.s3_endpoint is not None:
        storage.refuse_unsafe_endpoint(settings.s3_endpoint)
    places = {
        "input-root": f"{storage.open_folder(settings.input_root).uri}/",
        "output-root": f"{storage.open_folder(settings.output_root).uri}/",
        "model": name_anywhere(settings.model),
    }
    if settings.gold is not None:
        # A folder or a file: the slash says which.
        places["gold"] = storage.open_folder(settings.gold).uri + ("/" if settings.gold.endswith("/") else "")
    return places


def _client(address: str | None) -> JobSubmissionClient:
    if address is not None:
        # The library lets this variable win over its argument; here a flag wins.
        os.environ["RAY_API_SERVER_ADDRESS"] = address
    asked = job_server()
    if asked is not None:
        refuse_silent_server(asked)
    try:
        return JobSubmissionClient(address)
    except ValueError as error:
        found = one_line(error)
        raise SettingsError(f"--address {address}", found, "write it as http://head:8265") from error


def refuse_silent_server(address: str, seconds: float = ANSWER_SECONDS) -> None:
    """Raise InfrastructureError for a job server that says nothing: the library would wait for it for ever."""
    if not address.startswith(("http://", "https://")):
        return
    try:
        urlopen(f"{address.rstrip('/')}/api/version", timeout=seconds).close()  # noqa: S310  (no other scheme)
    except HTTPError as error:  # an answer, whatever it is
        error.close()
    except (OSError, HTTPException, ValueError) as error:
        # A connection that is not made in time is wrapped. What else it is the library says.
        if isinstance(getattr(error, "reason", error), TimeoutError):
            remedy = "look at the cluster's head, then submit it again"
            raise InfrastructureError(f"the job server {address}", f"no answer in {seconds:g} s", remedy) from error


def _make_way(job: NightJob, client: JobSubmissionClient) -> None:
    """Delete the entry of an earlier job of these nights: the server takes no id twice."""
    before = _standing(job, client)
    if before is None:
        return
    if not before.status.is_terminal():
        raise _at_work(job, before)
    if before.end_time is not None:
        left = before.end_time / 1000 + SETTLING_SECONDS - time.time()
        # At most so long, whatever the clocks of the two machines say.
        time.sleep(min(max(left, 0.0), SETTLING_SECONDS))
    client.delete_job(job.submission_id)


def _submit(job: NightJob, client: JobSubmissionClient) -> None:
    # Else it tells of each file that `.rayignore` leaves out, and that the checkpoint is large.
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        client.submit_job(
            entrypoint=job.entrypoint,
            submission_id=job.submission_id,
            # Nothing else ever: it is shown to whoever may look at the cluster's jobs. `.rayignore` says what is left
            # out of the folder.
            runtime_env={
                **({"working_dir": job.working_dir} if job.working_dir else {}),
                **({"env_vars": {**job.variables}} if job.variables else {}),
            },
        )
    except RuntimeError as error:
        now = _standing(job, client)
        if now is None:
            raise
        raise _at_work(job, now) from error  # somebody submitted it since we looked


def _standing(job: NightJob, client: JobSubmissionClient) -> JobDetails | None:
    return next((known for known in client.list_jobs() if known.submission_id == job.submission_id), None)


def _at_work(job: NightJob, now: JobDetails) -> AtWorkError:
    remedy = f"let it end, or stop it with `ray job stop {job.submission_id}`, then submit again"
    return AtWorkError(f"submit {job.submission_id}", f"a job of this id is there, {now.status}", remedy)


def _follow(job: NightJob, client: JobSubmissionClient) -> None:
    """Copy the log to stdout until the job has ended. Ctrl-C ends the following, not the job."""
    try:
        asyncio.run(_copy_log(job, client))
        _wait_for_end(job, client)
    except KeyboardInterrupt as error:
        raise interrupted(job.submission_id, error) from error


def interrupted(name: str, error: KeyboardInterrupt) -> InfrastructureError:
    """The error of a following that Ctrl-C or a signal ended."""
    found = " ".join(["interrupted", *error.args])
    remedy = f"follow it with `ray job logs --follow {name}`, or end it with `ray job stop {name}`"
    return InfrastructureError(f"following {name}", f"{found}, and the job goes on", remedy)


def _wait_for_end(job: NightJob, client: JobSubmissionClient) -> None:
    """Wait until the job has ended, over times in which its server cannot be asked: giving up would end nothing."""
    answered = time.monotonic()
    while True:
        try:
            if client.get_job_status(job.submission_id).is_terminal():
                return
            answered = time.monotonic()
        except (OSError, RuntimeError):  # what the client makes of a server that is away, or of its answer
            if time.monotonic() - answered > UNREACHED_SECONDS:
                raise
        time.sleep(POLL_SECONDS)


async def _copy_log(job: NightJob, client: JobSubmissionClient) -> None:
    try:
        await write_log(client.tail_job_logs(job.submission_id))
    except Exception as error:  # the log is for people: how the job ends is asked for apart from it
        logs.warn("log_lost", f"no log of {job.submission_id} ({type(error).__name__}); waiting for its end")


async def write_log(pieces: AsyncIterator[str]) -> None:
    """Write a job's log to stdout as it comes, with its lines and without its colours and the like.

    Not all lines are our driver's: Ray writes some, and so does whatever else the job starts.
    """
    async for piece in pieces:
        sys.stdout.write(printed(piece))
        sys.stdout.flush()


def _judged(job: NightJob, ended: JobDetails) -> str:
    """One line for a job that ended well, else an error of the driver's exit code."""
    if ended.status == JobStatus.SUCCEEDED:
        return f"{job.submission_id} ended with exit code 0"
    if ended.driver_exit_code is None:
        told = one_line(ended.message or "Ray does not say why")[:REASON_LETTERS]
        found = f"it is {ended.status} and its driver told no exit code ({told})"
        remedy = "submit it again and it goes on"
    else:
        found, remedy = f"its driver ended with exit code {ended.driver_exit_code}", "its log says why"
    kind = KINDS.get(ended.driver_exit_code or InfrastructureError.exit_code, InfrastructureError)
    if job.working_dir is None and ended.driver_exit_code == NO_SUCH_PROGRAM:
        found = f"the image of its node has no program {PROGRAM}"
        remedy = (
            f"install {PROGRAM} {__version__} in the image of every node, or submit a checkout with --package upload"
        )
        kind = RefusedError
    raise kind(f"job {job.submission_id}", found, remedy)


@contextmanager
def _reached(job: NightJob) -> Iterator[None]:
    """Tell in our words what the client raises: it has no errors of its own but for the token."""
    asked = f"submit {job.submission_id}"
    try:
        yield
    except AlbertInferError:
        raise
    except AuthenticationError as error:
        remedy = (
            "set RAY_AUTH_MODE=token here; the token is that of RAY_AUTH_TOKEN, of the file of RAY_AUTH_TOKEN_PATH, "
            "or of ~/.ray/auth_token"
        )
        raise SettingsError(asked, "the cluster takes no job without its token", remedy) from error
    except Exception as error:
        found = f"{type(error).__name__}: {one_line(error)[:300]}"
        remedy = "check --address and the cluster's head, then submit it again"
        raise InfrastructureError(asked, found, remedy) from error
