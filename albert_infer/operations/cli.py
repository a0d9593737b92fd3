"""`albert-infer`, the installed program: each job is one command.

The first word is the command's name. The job parses the other words, as its script does.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from albert_infer import __version__
from albert_infer.errors import AlbertInferError, SettingsError
from albert_infer.job.signals import starting
from albert_infer.operations.program import PROGRAM, REQUIRE_VERSION, refuse_other_version

if TYPE_CHECKING:
    from cyclopts import App

ABOUT: Final = f"""Label millions of sentence pairs with ALBERT natural language inference, on Ray.
{PROGRAM} COMMAND --help shows the settings of a command."""
# The commands in the order of the help, each with its line in the help.
COMMANDS: Final = {
    "demo": "Label the 306 pairs of the package, and show the results.",
    "label": "Label Parquet pairs and publish them as Parquet.",
    "plan": "Show what a run will take before it starts.",
    "verify": "Recount a published run from its files alone.",
    "evaluate": "Compare labels with gold labels, or with another run.",
    "nightly": "Label one night, or several.",
    "submit": "Submit one night, or several, to a Ray cluster.",
    "report": "Write the page of a published run, or an index of runs.",
    "review": "Write pairs for a person to label, or read the answers.",
    "clean": "List or delete the leftovers of finished and abandoned runs.",
    "finetune": "Fine-tune an ALBERT on labelled pairs.",
    "convert": "Convert a checkpoint with pickled weights.",
}
COMPLETION: Final = "--install-completion"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that the first word names; return its exit code, see `albert_infer.errors`."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        if words[:1] == [REQUIRE_VERSION]:
            refuse_other_version("".join(words[1:2]))
            words = words[2:]
        if words and words[0] in COMMANDS:
            return _run(*words)
        with starting(PROGRAM):
            _answer(words)
    except AlbertInferError as error:
        return _refuse(error)
    # Without a command the help is shown; the exit code is an error, so that no scheduler takes the job for done.
    return 0 if words else SettingsError.exit_code


def _run(name: str, *argv: str) -> int:
    program = f"{PROGRAM} {name}"
    with starting(program):
        from albert_infer.operations.commands import JOBS
    return JOBS[name].run(argv, program=program, call=program)


def _refuse(error: AlbertInferError) -> int:
    with starting(PROGRAM):
        from albert_infer.job.command import refuse
    return refuse(error, PROGRAM)


def _answer(words: Sequence[str]) -> None:
    """Handle a call without a command: show the help or the version, or install shell completion."""
    from cyclopts import App, CycloptsError, Group

    from albert_infer.common.printable import one_line

    others = Group("Without a command")
    app = App(name=PROGRAM, help=ABOUT, help_format="plaintext", version=__version__, result_action="return_value")
    for index, (name, line) in enumerate(COMMANDS.items()):
        command = _with_flags(name) if words[:1] == [COMPLETION] else App(name=name)
        command.help, command.sort_key = line, index
        app.command(command)
    app.register_install_completion_command(
        COMPLETION, help="Install completion of commands and flags in a shell.", group=others
    )
    app["--help"].group = app["--version"].group = others
    try:
        app(words, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        raise SettingsError("the command", one_line(error), f"see {PROGRAM} --help") from error
    except OSError as error:
        raise SettingsError(" ".join(words), one_line(error), "name another file with --output") from error


def _with_flags(name: str) -> App:
    """A command with all its flags, for shell completion."""
    from albert_infer.config.parsing import settings_app
    from albert_infer.operations.commands import JOBS

    return settings_app(JOBS[name].settings, program=name, about="")
