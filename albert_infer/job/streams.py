"""Makes stdout and stderr of a job unable to fail: no write to them changes the exit code.

A pipe may be closed, a disk may be full, or an encoding may lack a letter. The labels may be published at that time,
and a scheduler would repeat the run because of a lost line. Knows nothing of the contents of the lines.
"""

from __future__ import annotations

import io
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


@contextmanager
def unfailing_streams() -> Iterator[None]:
    """During the block, stdout and stderr escape letters that their encoding lacks, and drop lines on write errors."""
    with redirect_stdout(_unfailing(sys.stdout)), redirect_stderr(_unfailing(sys.stderr)):
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()


def _unfailing(stream: TextIO | None) -> Any:
    """A stream to the same file that never fails. A stream that is no text file, such as a test's, stays as it is."""
    if stream is None:  # the process was started without this stream
        return Path(os.devnull).open("w", encoding="utf-8")
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    stream.reconfigure(errors="backslashreplace")
    try:
        descriptor = stream.fileno()
    except OSError:  # the stream is in memory
        return stream
    with suppress(OSError):
        stream.flush()
    return io.TextIOWrapper(
        _LossyFile(descriptor, "wb", closefd=False),  # without a buffer, like Python's own stream with -u
        encoding=stream.encoding,
        errors="backslashreplace",
        newline="\n",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


class _LossyFile(io.FileIO):
    """A file whose writes never fail. Data that cannot be written is lost."""

    def write(self, data: ReadableBuffer, /) -> int:
        """Write all of `data`, because there is no buffer. Returns the length of `data`."""
        left = memoryview(data)
        with suppress(OSError):
            while left:
                written = super().write(left)
                if written is None:  # another process made the file non-blocking, and it is full
                    select.select([], [self], [])
                else:
                    left = left[written:]
        return memoryview(data).nbytes
