"""Submits nights as a job to a Ray cluster, follows the job, and ends with the driver's exit code.

Ray's job server starts the job and stores its log. The server receives the command, a variable for each setting
without a flag, and the checkout (unless the image of the nodes has the package). It receives nothing else of this
environment, and so no secrets.
"""

from __future__ import annotations

import logging
import os
import shlex
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import Final
from urllib.error import HTTPError
from urllib.request import urlopen

from ray.exceptions import AuthenticationError
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

from albert_infer import __version__, storage
from albert_infer.common import logs
from albert_infer.common.printable import REASON_LETTERS, PrintableText, one_line, text_of
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
from albert_infer.operations.following import follow
from albert_infer.operations.program import PROGRAM
from albert_infer.operations.uploading import INSTALLED_JOB, UPLOADED_JOB, folder_uploaded

# A shell's exit code for an unknown program.
NO_SUCH_PROGRAM: Final = 127
# Ray's loggers that report each file and folder that is uploaded or left out, and the end of the log's connection.
RAY_LOGGERS: Final = (
    *("ray._private.runtime_env.packaging", "ray._private.runtime_env.working_dir"),
    *("ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk"),
)
# The errors of the driver's exit codes. Any other code, as that of a signal, is an InfrastructureError.
KINDS: Final = {kind.exit_code: kind for kind in (RefusedError, LimitError, IntegrityError, SupersededError)}
# Ray releases an ended job's id a moment after its end; a job that takes the id earlier fails before it starts.
SETTLING_SECONDS: Final = 10.0
# For the answer to the request of the version or of a log; a busy head takes seconds.
ANSWER_SECONDS: Final = 30.0


@dataclass(frozen=True)
class NightJob:
    """The job to submit. The id names the nights, so that a second submit of the same nights is noticed."""

    submission_id: str
    entrypoint: str
    # The folder to upload; None if the image of the nodes has the package.
    working_dir: str | None
    variables: Mapping[str, str] = field(default_factory=dict)


def submit_nights(settings: SubmitSettings, project: Path | None) -> PrintableText:
    """Submit the nights with the code of `project`, follow the job to its end, and return the result as text.

    Without a `project`, or with `--package image`, the job runs the package in the image of the nodes.

    Raises AtWorkError if a job with the same id runs, SettingsError for a location or a token that is not accepted,
    InfrastructureError if the cluster cannot be reached or somebody stopped the job. If the driver failed, raises the
    error of its exit code.
    """
    job = night_job(settings, project)
    with _reached(job):
        client = _client(settings.address)
        earlier_log = _make_way(job, client, with_log=not settings.no_wait)
        _submit(job, client)
        if settings.no_wait:
            name = job.submission_id
            return text_of([f"submitted {name}: follow it with `ray job logs --follow {name}`"])
        follow(job.submission_id, client, earlier_log)
        return text_of([_judged(job, client.get_job_info(job.submission_id))])


def night_job(settings: SubmitSettings, project: Path | None) -> NightJob:
    """The job that labels the nights, with all settings in its command and variables.

    Raises SettingsError for an invalid location, a location with credentials, and an unsafe endpoint: all users of the
    cluster's job list see the command.
    """
    nights = settings.nights  # read once, as midnight may pass
    first, last = nights[0].isoformat(), nights[-1].isoformat()
    dates = [f"--date={last}"] if first == last else [f"--since={first}", f"--until={last}"]
    explicit = {"input_root", "output_root", "model", "gold", "hypotheses", "date", "since", "until"}
    uploaded = folder_uploaded(settings.package, project)
    command = [
        *(INSTALLED_JOB if uploaded is None else UPLOADED_JOB),
        *(f"--{name}={location}" for name, location in _locations(settings).items()),
        *dates,
        *flags_of(settings, set(NightlySettings.model_fields) - explicit),
    ]
    return NightJob(
        submission_id=f"nli-{last}" if first == last else f"nli-{first}-{last}",
        entrypoint=shlex.join(command),
        working_dir=None if uploaded is None else str(uploaded),
        variables=variables_of(settings),
    )


def _locations(settings: SubmitSettings) -> dict[str, str]:
    """The absolute locations of the flags, because the job runs in another folder."""
    if settings.s3_endpoint is not None:
        storage.refuse_unsafe_endpoint(settings.s3_endpoint)
    locations = {
        "input-root": f"{storage.open_folder(settings.input_root).uri}/",
        "output-root": f"{storage.open_folder(settings.output_root).uri}/",
        "model": name_anywhere(settings.model),
    }
    if settings.gold is not None:
        # A slash at the end marks a folder.
        locations["gold"] = storage.open_folder(settings.gold).uri + ("/" if settings.gold.endswith("/") else "")
    if settings.hypotheses is not None:
        locations["hypotheses"] = storage.open_folder(settings.hypotheses).uri
    return locations


def _client(address: str | None) -> JobSubmissionClient:
    if address is not None:
        # For the library this variable wins over its argument; here the flag must win.
        os.environ["RAY_API_SERVER_ADDRESS"] = address
    asked = job_server()
    if asked is not None:
        refuse_silent_server(asked)
    try:
        return JobSubmissionClient(address)
    except ValueError as error:
        raise SettingsError(f"--address {address}", one_line(error), "write it as http://head:8265") from error


def refuse_silent_server(address: str, seconds: float = ANSWER_SECONDS) -> None:
    """Raise InfrastructureError for a job server that does not answer: the library would wait for ever."""
    if not address.startswith(("http://", "https://")):
        return
    try:
        urlopen(f"{address.rstrip('/')}/api/version", timeout=seconds).close()  # noqa: S310  (no other scheme)
    except HTTPError as error:  # any answer is enough
        error.close()
    except (OSError, HTTPException, ValueError) as error:
        # A timeout while connecting is wrapped. The library reports all other errors itself.
        if isinstance(getattr(error, "reason", error), TimeoutError):
            remedy = "look at the cluster's head, then submit it again"
            raise InfrastructureError(f"the job server {address}", f"no answer in {seconds:g} s", remedy) from error


def _make_way(job: NightJob, client: JobSubmissionClient, *, with_log: bool) -> str:
    """Delete the entry of an earlier job of these nights, because the server accepts each id once.

    With `with_log`, returns the log of the earlier job, to which Ray appends that of the new job; empty without one.
    """
    earlier = _job_with_id(job, client)
    if earlier is None:
        return ""
    if not earlier.status.is_terminal():
        raise _at_work(job, earlier)
    if earlier.end_time is not None:
        left = earlier.end_time / 1000 + SETTLING_SECONDS - time.time()
        # The limit protects against different clocks on the two machines.
        left = min(max(left, 0.0), SETTLING_SECONDS)
        if left:
            logs.log("waiting", f"waiting {left:.0f} s: the earlier job of these nights ended just now", {})
        time.sleep(left)
    log = _log_of(job, client) if with_log else ""
    client.delete_job(job.submission_id)
    return log


def _log_of(job: NightJob, client: JobSubmissionClient) -> str:
    """The log of an ended job; empty if its machine is gone, or does not answer in ANSWER_SECONDS."""
    answers = Queue[str]()

    def ask() -> None:
        log = ""
        with suppress(OSError, RuntimeError):
            log = client.get_job_logs(job.submission_id)
        answers.put(log)

    # The library waits without a limit. A daemon does not keep this process from ending.
    Thread(target=ask, daemon=True).start()
    with suppress(Empty):
        return answers.get(timeout=ANSWER_SECONDS)
    return ""


def _submit(job: NightJob, client: JobSubmissionClient) -> None:
    for name in RAY_LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        client.submit_job(
            entrypoint=job.entrypoint,
            submission_id=job.submission_id,
            # Nothing else: all users of the cluster's job list see this. `.rayignore` lists the files that are not
            # uploaded.
            runtime_env={
                **({"working_dir": job.working_dir} if job.working_dir else {}),
                **({"env_vars": {**job.variables}} if job.variables else {}),
            },
        )
    except RuntimeError as error:
        running = _job_with_id(job, client)
        if running is None:
            raise
        raise _at_work(job, running) from error  # another submit came first


def _job_with_id(job: NightJob, client: JobSubmissionClient) -> JobDetails | None:
    return next((known for known in client.list_jobs() if known.submission_id == job.submission_id), None)


def _at_work(job: NightJob, running: JobDetails) -> AtWorkError:
    remedy = f"let it end, or stop it with `ray job stop {job.submission_id}`, then submit again"
    return AtWorkError(f"submit {job.submission_id}", f"a job of this id is there, {running.status}", remedy)


def _judged(job: NightJob, ended: JobDetails) -> str:
    """Return one line for a successful job; raise the error of the driver's exit code for a failed one."""
    if ended.status == JobStatus.SUCCEEDED:
        return f"{job.submission_id} ended with exit code 0"
    if ended.driver_exit_code is None:
        message = one_line(ended.message or "Ray does not say why")[:REASON_LETTERS]
        problem = f"it is {ended.status} and its driver returned no exit code ({message})"
        remedy = "submit it again to resume it"
    else:
        problem, remedy = f"its driver ended with exit code {ended.driver_exit_code}", "its log says why"
    kind = KINDS.get(ended.driver_exit_code or InfrastructureError.exit_code, InfrastructureError)
    if job.working_dir is None and ended.driver_exit_code == NO_SUCH_PROGRAM:
        problem = f"the image of its node has no program {PROGRAM}"
        remedy = (
            f"install {PROGRAM} {__version__} in the image of every node, or submit a checkout with --package upload"
        )
        kind = RefusedError
    raise kind(f"job {job.submission_id}", problem, remedy)


@contextmanager
def _reached(job: NightJob) -> Iterator[None]:
    """Turn the client's exceptions into AlbertInferErrors."""
    asked = f"submit {job.submission_id}"
    try:
        yield
    except AlbertInferError:
        raise
    except AuthenticationError as error:
        remedy = (
            "set RAY_AUTH_MODE=token here, and put the token into RAY_AUTH_TOKEN, the file of RAY_AUTH_TOKEN_PATH, "
            "or ~/.ray/auth_token"
        )
        raise SettingsError(asked, "the cluster takes no job without its token", remedy) from error
    except Exception as error:
        problem = f"{type(error).__name__}: {one_line(error)[:300]}"
        remedy = "check --address and the cluster's head, then submit it again"
        raise InfrastructureError(asked, problem, remedy) from error
