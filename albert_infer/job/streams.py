"""stdout and stderr of a job: what is written to them never decides how the job ends.

A pipe may be closed, a disk full, an encoding without the letter: by then the labels may be published, and a scheduler
would run the night again for a line that nobody reads. Knows nothing of what the lines say.
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
    """Let stdout and stderr escape what their encoding lacks, and lose what cannot be written, while the block runs."""
    with redirect_stdout(_unfailing(sys.stdout)), redirect_stderr(_unfailing(sys.stderr)):
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()


def _unfailing(stream: TextIO | None) -> Any:
    """A stream to the same file; a stream that is no text file, such as a test's, stays as it is."""
    if stream is None:  # the process was started without one
        return Path(os.devnull).open("w", encoding="utf-8")
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    stream.reconfigure(errors="backslashreplace")
    try:
        descriptor = stream.fileno()
    except OSError:  # it is in memory
        return stream
    with suppress(OSError):
        stream.flush()
    return io.TextIOWrapper(
        _LossyFile(descriptor, "wb", closefd=False),  # without a buffer, as Python's own with -u
        encoding=stream.encoding,
        errors="backslashreplace",
        newline="\n",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


class _LossyFile(io.FileIO):
    """A file that takes whatever is written to it; what it cannot keep is lost."""

    def write(self, data: ReadableBuffer, /) -> int:
        """Write all of it, as no buffer stands before; the number of bytes that were given."""
        left = memoryview(data)
        with suppress(OSError):
            while left:
                written = super().write(left)
                if written is None:  # whoever shares the file has set it to refuse rather than wait
                    select.select([], [self], [])
                else:
                    left = left[written:]
        return memoryview(data).nbytes
