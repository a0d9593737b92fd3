"""Argv, environment and TOML file to settings; the library reads them all from their declarations."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Annotated, TypeVar

from cyclopts import App, CycloptsError, Parameter
from cyclopts.config import Dict, Env
from pydantic import BaseModel

from albert_infer.config import gone, refusals
from albert_infer.config.environment import refuse_unknown_variables, refuse_unpickling
from albert_infer.config.file import settings_in
from albert_infer.config.groups import DATA, HELP, VARIABLE_PREFIX, Mark, flag_of, marked, variable_of
from albert_infer.config.help import Help
from albert_infer.errors import SettingsError

Settings = TypeVar("Settings", bound=BaseModel)


def parse_settings(settings: type[Settings], argv: Sequence[str], *, program: str, about: str) -> Settings | None:
    """The settings that `argv`, the environment and `--config FILE` add up to; None if only help was asked for.

    Raises SettingsError, naming the setting and the choices.
    """
    refuse_unknown_variables(settings, program)
    refuse_unpickling(program)
    gone.refuse_flags(argv, settings, program)
    parsed: list[Settings] = []
    app = settings_app(settings, program=program, about=about, receive=parsed.append)
    try:
        app.meta(list(argv), exit_on_error=False, print_error=False)
    except (CycloptsError, ValueError, RecursionError) as error:
        remedy = refusals.remedy(error, settings) or f"see {program} --help-all"
        raise SettingsError(f"the settings of {program}", refusals.found(error, settings), remedy) from error
    return parsed[0] if parsed else None


def flags_of(settings: BaseModel, names: Collection[str]) -> list[str]:
    """The flags that say again what was said of these settings, wherever it was said; defaults are left out.

    Settings without a flag are in `variables_of`.
    """
    without_flag = marked(type(settings), Mark.NO_FLAG)
    return [
        f"{flag_of(name)}={_as_text(value)}"
        for name, value in _said(settings).items()
        if name in names and name not in without_flag
    ]


def variables_of(settings: BaseModel) -> dict[str, str]:
    """The variables that say again what was said of the settings without a flag."""
    said = _said(settings)
    return {variable_of(name): _as_text(said[name]) for name in marked(type(settings), Mark.NO_FLAG) if name in said}


def _said(settings: BaseModel) -> dict[str, object]:
    names = [name for name in type(settings).model_fields if name in settings.model_fields_set]
    return {name: value for name in names if (value := getattr(settings, name)) is not None}


def _as_text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(value) if isinstance(value, tuple) else str(value)


def settings_app(
    settings: type[Settings], *, program: str, about: str, receive: Callable[[Settings], None] = lambda _: None
) -> App:
    """A program with one flag per field of `settings`, and `--config` before all others; called, it hands them over."""
    # Plain, as markup would take `<NAME>` for a tag.
    shown = Help(settings, shows_all=False)
    app = App(
        name=program,
        help=_joined(about),
        help_format="plaintext",
        help_formatter=shown,
        help_epilogue=shown.last_line,
        group_commands=HELP,
        version_flags=[],
        result_action="return_value",
    )
    rest = [_aws_environment()] if "s3_endpoint" in settings.model_fields else []
    app.config = [_environment(), *rest]
    app.default(_receiver(settings, receive))

    @app.meta.default
    def with_config(
        *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
        config: Annotated[
            Path | None,
            Parameter(
                group=DATA, show_env_var=False, help="A TOML file with any of these settings; flags win over it."
            ),
        ] = None,
        help_all: Annotated[
            bool,
            Parameter(
                group=HELP,
                negative="",
                show_default=False,
                show_env_var=False,
                help="Display every setting and exit.",
            ),
        ] = False,
    ) -> None:
        if help_all:
            app.help_formatter, app.help_epilogue = Help(settings, shows_all=True), None
            app.help_print([])
            return
        if config is not None:
            config = config.expanduser()
            app.config = [_environment(), Dict(settings_in(config, settings), source=str(config)), *rest]
        app(tokens, exit_on_error=False, print_error=False)

    return app


def _joined(about: str) -> str:
    """The paragraphs, each in one line: the library breaks them for the terminal."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in about.split("\n\n"))


def _receiver(settings: type[Settings], receive: Callable[[Settings], None]) -> Callable[..., None]:
    """A function with one argument of this type, which the library reads from its annotation."""

    def received(*, settings: Settings) -> None:
        receive(settings)

    received.__annotations__ = {"settings": Annotated[settings, Parameter(name="*", negative="", show_env_var=False)]}
    return received


def _environment() -> Env:
    return Env(VARIABLE_PREFIX, command=False)


def _aws_environment() -> Dict:
    """Read here rather than left to the SDK, so that workers on other machines use the driver's endpoint."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL")
    return Dict({"s3_endpoint": endpoint} if endpoint else {}, source="AWS_ENDPOINT_URL")
