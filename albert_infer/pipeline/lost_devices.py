"""A worker whose GPU is lost ends its process: CUDA repeats the error there, and another process may use the GPU."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from albert_infer.common.printable import one_line

EXIT_CODE: Final = 1
REASON_LETTERS: Final = 300


@contextmanager
def ending_with_the_device(tell: Callable[[str], None], end: Callable[[int], object] = os._exit) -> Iterator[None]:
    """End this process if the block raises an error after which its GPU is lost. Other errors leave as they came.

    `tell` gets the error in one line before. Ray starts another process and makes the call again there. The attempt at
    the unit stays open, so that a unit that takes three processes with it is given up.
    """
    try:
        yield
    except RuntimeError as error:
        # Imported here: torch takes seconds to load, and an error that torch did not raise needs none of it.
        from albert_infer.engine.faults import is_device_lost

        if is_device_lost(error):
            tell(f"{type(error).__name__}: {one_line(error)[:REASON_LETTERS]}")
            end(EXIT_CODE)
        raise
