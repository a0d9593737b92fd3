"""Turns argv, environment and TOML file into settings. Cyclopts reads the values by their declarations."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Final, TypeVar

from cyclopts import App, CycloptsError, Parameter
from cyclopts.argument import ArgumentCollection
from cyclopts.config import Dict, Env
from pydantic import BaseModel

from albert_infer.config import refusals, removed
from albert_infer.config.environment import refuse_unknown_variables, refuse_unpickling
from albert_infer.config.file import settings_in
from albert_infer.config.groups import DATA, HELP, VARIABLE_PREFIX, Mark, flag_of, marked, variable_of
from albert_infer.config.help import Help
from albert_infer.errors import SettingsError

Settings = TypeVar("Settings", bound=BaseModel)

CONFIG: Final = "--config"
HELP_ALL: Final = "--help-all"


def parse_settings(settings: type[Settings], argv: Sequence[str], *, program: str, about: str) -> Settings | None:
    """The settings from `argv`, the environment and `--config FILE`; None if `argv` asks for help.

    Raises SettingsError that names the setting and its choices.
    """
    refuse_unknown_variables(settings, program)
    refuse_unpickling(program)
    removed.refuse_flags(argv, settings, program)
    parsed: list[Settings] = []
    shows_all = HELP_ALL in argv
    app = settings_app(settings, program=program, about=about, receive=parsed.append, shows_all=shows_all)
    if shows_all:
        app.help_print([])
        return None
    try:
        app(list(argv), exit_on_error=False, print_error=False)
    except (CycloptsError, ValueError, RecursionError) as error:
        remedy = refusals.remedy(error, settings) or f"see {program} --help-all"
        raise SettingsError(f"the settings of {program}", refusals.problem(error, settings), remedy) from error
    return parsed[0] if parsed else None


def flags_of(settings: BaseModel, names: Collection[str]) -> list[str]:
    """The flags that repeat these settings, from whatever source they came. Defaults are left out.

    Settings without a flag are in `variables_of`.
    """
    without_flag = marked(type(settings), Mark.NO_FLAG)
    return [
        f"{flag_of(name)}={_as_text(value)}"
        for name, value in _explicit(settings).items()
        if name in names and name not in without_flag
    ]


def variables_of(settings: BaseModel) -> dict[str, str]:
    """The variables that repeat the settings without a flag. Defaults are left out."""
    explicit = _explicit(settings)
    return {
        variable_of(name): _as_text(explicit[name]) for name in marked(type(settings), Mark.NO_FLAG) if name in explicit
    }


def _explicit(settings: BaseModel) -> dict[str, object]:
    names = [name for name in type(settings).model_fields if name in settings.model_fields_set]
    return {name: value for name in names if (value := getattr(settings, name)) is not None}


def _as_text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(value) if isinstance(value, tuple) else str(value)


class _FlagsApp(App):
    """A program whose flags have their help in their declarations."""

    def assemble_argument_collection(
        self, *, default_parameter: Parameter | None = None, parse_docstring: bool = False
    ) -> ArgumentCollection:
        """The flags. Ignores `parse_docstring`: to look for help in the source of each class takes 0.1 s."""
        return super().assemble_argument_collection(default_parameter=default_parameter)


def settings_app(
    settings: type[Settings],
    *,
    program: str,
    about: str,
    receive: Callable[[Settings], None] = lambda _: None,
    shows_all: bool = False,
) -> App:
    """A program with `--config` and one flag per field of `settings`. A call passes the settings to `receive`."""
    # Plain text, because markup would read `<NAME>` as a tag.
    formatter = Help(settings, shows_all=shows_all)
    app = _FlagsApp(
        name=program,
        help=_joined(about),
        help_format="plaintext",
        help_formatter=formatter,
        help_epilogue=formatter.last_line,
        group_commands=HELP,
        version_flags=[],
        result_action="return_value",
    )
    fallbacks = [_aws_environment()] if "s3_endpoint" in settings.model_fields else []
    app.config = [_environment(), partial(_read_file, settings), *fallbacks]
    app.default(_receiver(settings, receive))
    return app


def _read_file(settings: type[BaseModel], app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Take the settings of the file that `--config` names. Flags and variables are there already, and win."""
    words = next(argument.tokens for argument in arguments if argument.name == CONFIG)
    if words:
        path = Path(words[0].value).expanduser()
        Dict(settings_in(path, settings), source=str(path))(app, commands, arguments)


def _joined(about: str) -> str:
    """The text with each paragraph on one line. Cyclopts wraps lines for the terminal."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in about.split("\n\n"))


def _receiver(settings: type[Settings], receive: Callable[[Settings], None]) -> Callable[..., None]:
    """A function with one argument of type `settings`. Cyclopts reads the flags from its annotation."""

    def received(*, config: Path | None = None, help_all: bool = False, settings: Settings) -> None:
        receive(settings)

    of_file = Parameter(
        name=CONFIG, group=DATA, show_env_var=False, help="A TOML file with any of these settings; flags override it."
    )
    # Only for the help: `parse_settings` handles the flag, even where other flags are wrong.
    of_help = Parameter(
        name=HELP_ALL,
        group=HELP,
        negative="",
        show_default=False,
        show_env_var=False,
        help="Display every setting and exit.",
    )
    received.__annotations__ = {
        "config": Annotated[Path | None, of_file],
        "help_all": Annotated[bool, of_help],
        "settings": Annotated[settings, Parameter(name="*", negative="", show_env_var=False)],
    }
    return received


def _environment() -> Env:
    return Env(VARIABLE_PREFIX, command=False)


def _aws_environment() -> Dict:
    """The S3 endpoint. The driver reads it, not the SDK, so that workers on other machines use the same."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL")
    return Dict({"s3_endpoint": endpoint} if endpoint else {}, source="AWS_ENDPOINT_URL")
