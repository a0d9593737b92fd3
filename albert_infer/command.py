"""What every job script calls: argv to settings, the work, a report on stdout, one error line, an exit code."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Sequence

from pydantic import BaseModel

from albert_infer.config import Settings, parse_settings
from albert_infer.errors import AlbertInferError, InfrastructureError


def run_command(
    settings_type: type[Settings],
    work: Callable[[Settings], str],
    argv: Sequence[str] | None,
    *,
    program: str,
    about: str,
) -> int:
    """Parse `argv` (None: the process's own), do the work, print the text that it returns; the exit code.

    An end that the operator must hear about is one line on stderr; with `--debug` a traceback too.
    """
    argv = sys.argv[1:] if argv is None else argv
    settings: Settings | None = None
    try:
        settings = parse_settings(settings_type, argv, program=program, about=about)
        if settings is not None:
            sys.stdout.write(work(settings) + "\n")
    except AlbertInferError as error:
        return _failed(program, error, debug=_debug(settings, argv))
    except KeyboardInterrupt as error:
        stopped = InfrastructureError(program, "interrupted", "run it again and it goes on")
        return _failed(program, stopped.with_traceback(error.__traceback__), debug=_debug(settings, argv))
    except Exception as error:  # the last line of defence: nobody sees a traceback for what they can mend
        return _failed(program, unknown_error(program, error), debug=_debug(settings, argv))
    return 0


def unknown_error(asked: str, error: Exception) -> InfrastructureError:
    """An error that is none of ours, as one of ours with its traceback."""
    found = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    unknown = InfrastructureError(asked, found, "run it again; if it stays, run it with --debug and report it")
    return unknown.with_traceback(error.__traceback__)


def one_line(told: object) -> str:
    """What is told, in one printable line.

    Names of files and columns are the input's: they must not write lines or colours of their own into a log.
    """
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in " ".join(str(told).split()))


def _debug(settings: BaseModel | None, argv: Sequence[str]) -> bool:
    """Whether tracebacks were asked for, wherever the settings came from; of refused ones only the flag is known."""
    return bool(getattr(settings, "debug", "--debug" in argv))


def _failed(program: str, error: AlbertInferError, *, debug: bool) -> int:
    if debug:
        traceback.print_exception(error)
    sys.stderr.write(f"{program}: {one_line(error)}\n")
    return error.exit_code
