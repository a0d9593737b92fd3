"""Opens folders by path or URI, resolves inputs, and checks outputs before a run."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from os.path import expanduser
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import unquote

from albert_infer.common.schemes import SchemeError, scheme_of
from albert_infer.errors import InputError, NoInputError, ObjectMissingError, OutputError, RefusedError, SettingsError
from albert_infer.storage.access import DEFAULT_ACCESS, S3Access, refuse_unsafe_endpoint
from albert_infer.storage.folder import AccessError, Folder, ObjectPin
from albert_infer.storage.local import LocalFolder

if TYPE_CHECKING:
    from albert_infer.storage.s3 import S3Folder


Item = TypeVar("Item")
Result = TypeVar("Result")

# No object is deleted between two puts this many times.
MAX_CREATED = 5
# Patterns that a shell or Spark would expand; and lists of locations.
PATTERN = re.compile(r"[*?]|\[[^\]/]+\]|\{[^}]*,[^}]*\}")
LIST = re.compile(r",\s*(?:/|\w+:/)")
BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")


@dataclass(frozen=True)
class InputObjects:
    """The objects of an input at one moment: `pins` of `folder`; `uri` is the normalised URI of the folder or file."""

    uri: str
    folder: Folder
    pins: tuple[ObjectPin, ...]


def open_folder(uri: str, access: S3Access = DEFAULT_ACCESS) -> LocalFolder | S3Folder:
    """Open the folder at a local path, `file://` or `s3://` URI, without a request; the folder need not exist.

    `~` and `~user` at the beginning of a path are expanded, because a path may come from a file or a variable.

    `access` is for S3. Raises `SettingsError` for an invalid URI, a URI with credentials (the message does not repeat
    them), and an unsafe endpoint.
    """
    if (scheme := _scheme(uri)) == "s3":
        if access.endpoint is not None:
            refuse_unsafe_endpoint(access.endpoint)
        # Imported here, because the import takes a quarter of a second and local paths do not need it.
        from albert_infer.storage.s3 import S3Folder

        return S3Folder(_normalised_s3(uri), access)
    return LocalFolder(_real_path(unquote(uri.removeprefix("file://")) if scheme == "file" else _expanded(uri)))


def subfolder(uri: str, name: str) -> str:
    """The URI of the folder `name` below the folder at `uri`; the URI ends in a slash, which marks a folder.

    Raises `SettingsError` as `open_folder`, and `IntegrityError` for a local name outside the folder.
    """
    return f"{open_folder(uri).uri_of(name)}/"


def resolve_input(uri: str, access: S3Access = DEFAULT_ACCESS) -> InputObjects:
    """List the objects of an input URI: the one object, or all objects below the folder, without a filter.

    Raises `NoInputError` if nothing is there, `InputError` without the right to list, or for a pattern or list of
    locations, and `SettingsError` as `open_folder`.
    """
    folder = open_folder(uri, access)
    try:
        single = None if uri.endswith("/") else _single_object(folder)
        pins = folder.objects()
        # Only names with a full stop are checked, so that a missing folder of a night costs no extra request.
        is_file = not pins and uri.endswith("/") and "." in folder.uri.rpartition("/")[2] and _single_object(folder)
    except (AccessError, ObjectMissingError) as error:
        raise InputError(error.asked, error.problem, error.remedy) from error
    if single and pins:
        raise InputError(f"the input {folder.uri}", "both an object and a folder", "end the folder's URI with a slash")
    if is_file:
        raise InputError(f"the input {folder.uri}/", "it is an object, and no folder", "take the slash off its end")
    if not single and not pins:
        raise _nothing_there(folder.uri)
    return single or InputObjects(folder.uri, folder, tuple(pins))


def overlaps(one: str, other: str) -> bool:
    """Whether two normalised URIs of folders or files are equal, or one is below the other."""
    return _inside(one, other) or _inside(other, one)


def check_writable(folder: Folder) -> None:
    """Raise `OutputError` unless objects can be created in the folder.

    The check leaves nothing behind. On S3 it needs ListBucket, GetObject and PutObject, as the run does, and no right
    to delete: it sends a PUT that depends on an ETag of no object.
    """
    with refused(OutputError):
        folder.probe_write()


@contextmanager
def refused(kind: type[RefusedError]) -> Iterator[None]:
    """Turn an AccessError into an error of `kind`: for the first requests, before anything is written."""
    try:
        yield
    except AccessError as error:
        raise kind(error.asked, error.problem, error.remedy) from error


def check_conditional(folder: Folder, name: str, data: bytes) -> None:
    """Raise `OutputError` if an object that was just created with these bytes can be created again.

    Only a second PUT shows that a server obeys If-None-Match. If the server does not, the same bytes are written again,
    which changes nothing.
    """
    # Several tries, because a clean-up may delete the object between two puts.
    if all(folder.put_if_absent(name, data) for _ in range(MAX_CREATED)):
        problem = f"{folder.uri_of(name)} existed and was overwritten: the server ignores If-None-Match"
        remedy = "use an S3 server that obeys conditional PUTs, or two runs could overwrite each other"
        raise OutputError(f"creating an object once in {folder.uri}", problem, remedy)


def each(folder: Folder, items: Sequence[Item], work: Callable[[Item], Result]) -> list[Result]:
    """Return the result of `work` for each item, in order; `folder.requests_at_once` items run at a time."""
    if folder.requests_at_once == 1 or len(items) < 2:
        return [work(item) for item in items]
    with ThreadPoolExecutor(folder.requests_at_once) as threads:
        return list(threads.map(work, items))


def _scheme(uri: str) -> str:
    """Return `s3`, `file`, or "" for a path. Raises `SettingsError` for any other scheme."""
    if not uri or "\0" in uri:
        raise SettingsError("a location", f"{uri!r}", "give a path, file:// or s3:// URI")
    try:
        scheme = scheme_of(uri)
    except SchemeError as error:
        raise SettingsError(f"the location {error.asked}", error.problem, error.remedy) from error
    if scheme == "file" and not uri.startswith("file:///"):
        raise SettingsError("a location", "file:// with a host", "write file:///absolute/path")
    return scheme


def _normalised_s3(uri: str) -> str:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    if "@" in bucket or ":" in bucket:
        raise SettingsError(
            "an s3:// URI", "it holds a user or password", "take it out; credentials come from the AWS environment"
        )
    if not BUCKET.fullmatch(bucket):
        raise SettingsError(f"the location {uri}", f"{bucket!r} is no bucket name", "write s3://bucket/prefix")
    if not {".", ".."}.isdisjoint(key.split("/")):
        raise SettingsError(f"the location {uri}", "a segment '.' or '..'", "write the key itself")
    if uri.endswith("//"):
        raise SettingsError(f"the location {uri}", "it ends in two slashes", "end it with one or none")
    return uri.removesuffix("/")


def _expanded(path: str) -> str:
    # Path.expanduser raises for an unknown user; a shell leaves such a name as it is.
    return expanduser(path)  # noqa: PTH111


def _real_path(path: str) -> str:
    try:
        return str(Path(path).resolve())
    except (OSError, RuntimeError) as error:
        raise SettingsError(f"the location {path}", "a link that leads to itself", "correct the link") from error


def _single_object(folder: LocalFolder | S3Folder) -> InputObjects | None:
    """Return the object with the folder's URI, if the URI names an object."""
    parent_uri, _, name = folder.uri.rpartition("/")
    if not name or parent_uri == "s3:/":  # the root, or a whole bucket
        return None
    parent = replace(folder, uri=parent_uri or "/")
    pin = parent.stat(name)
    return InputObjects(folder.uri, parent, (pin,)) if pin else None


def _nothing_there(uri: str) -> InputError:
    """NoInputError for an empty location; InputError for a location that can never have objects."""
    asked = f"the input {uri}"
    if PATTERN.search(uri):
        problem = "nothing has this name, and patterns are not expanded"
        return InputError(asked, problem, "give the folder: every Parquet file below it is read, at any depth")
    if LIST.search(uri):
        problem = "nothing has this name, and a list of locations is not split"
        return InputError(asked, problem, "put the files below one folder and give that, or run the job once for each")
    remedy = "correct the URI, or wait for the files"
    if "," in uri:
        remedy += "; one input is read, so put the files of several below one folder"
    return NoInputError(asked, "nothing is there", remedy)


def _inside(inner: str, outer: str) -> bool:
    return f"{inner}/".startswith(f"{outer.removesuffix('/')}/")
