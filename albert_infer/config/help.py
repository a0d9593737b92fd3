"""Formats `--help`, with the flags that most people need, and `--help-all`, with every setting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cyclopts.help import DefaultFormatter, HelpEntry, HelpPanel
from pydantic import BaseModel

from albert_infer.config.groups import Mark, flag_of, marked

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions

LAST_LINE: Final = "--help-all also shows the settings that few people need."


class Help(DefaultFormatter):
    """Formats the panels of cyclopts, with all settings or with those of `--help`."""

    def __init__(self, settings: type[BaseModel], *, shows_all: bool) -> None:
        super().__init__()
        self._without_flag = {flag_of(name): name for name in marked(settings, Mark.NO_FLAG)}
        rare = {flag_of(name) for name in marked(settings, Mark.RARE)}
        hidden = rare | self._without_flag.keys()
        # If no setting is hidden, --help-all is left out.
        self._hidden = set() if shows_all else hidden or {"--help-all"}
        self.last_line = LAST_LINE if hidden and not shows_all else None

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
        """Print the visible entries of one panel, required ones first. An empty panel is not printed."""
        entries = [self._named(entry) for entry in panel.entries if self._hidden.isdisjoint(entry.names)]
        if entries:
            entries.sort(key=lambda entry: not entry.required)
            super().__call__(console, options, panel.copy(entries=entries))

    def _named(self, entry: HelpEntry) -> HelpEntry:
        """The entry; a setting without a flag gets its name in the TOML file."""
        names = tuple(self._without_flag.get(name, name) for name in entry.positive_names)
        return entry.copy(positive_names=names)
