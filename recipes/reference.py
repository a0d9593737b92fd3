"""The page with every setting of every job, from their declarations: `python -m recipes.reference`."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Lt, MinLen
from cyclopts import Group, Parameter
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from albert_infer.config import (
    CleanSettings,
    ConvertSettings,
    EvaluateSettings,
    FinetuneSettings,
    LabelSettings,
    NightlySettings,
    PlanSettings,
    ReportSettings,
    ReviewSettings,
    SubmitSettings,
    VerifySettings,
)
from albert_infer.config.groups import Mark, flag_of, variable_of

PAGE: Final = Path(__file__).parents[1] / "docs" / "reference" / "settings.md"
# By the commands of `albert-infer`; a job that has all settings of an earlier one lists its own only.
JOBS: Final[dict[str, tuple[type[BaseModel], type[BaseModel] | None]]] = {
    "label": (LabelSettings, None),
    "plan": (PlanSettings, LabelSettings),
    "nightly": (NightlySettings, LabelSettings),
    "submit": (SubmitSettings, NightlySettings),
    "verify": (VerifySettings, None),
    "report": (ReportSettings, None),
    "review": (ReviewSettings, None),
    "clean": (CleanSettings, None),
    "evaluate": (EvaluateSettings, None),
    "finetune": (FinetuneSettings, None),
    "convert": (ConvertSettings, None),
}
HEAD: Final = """\
# Settings

This page lists the settings of each command of `albert-infer`. `python -m recipes.reference` makes it from the
declarations in `albert_infer/config/`, and a test compares the two.

The first column has three names of a setting: its key in a TOML file, its flag, and its environment variable. A job
looks for a value in this order:

1. the flag
2. the variable
3. the TOML file that `--config` names
4. the default

Every job also has these flags:

| flag | what it does |
|---|---|
| `--config FILE` | reads settings from a TOML file |
| `--help` | shows the common settings |
| `--help-all` | shows all settings |

A TOML file has one setting on each line:

```toml
input = "s3://inbox/pairs/"
output = "s3://labels/pairs/"
carry = ["genre", "id"]
s3_kms_key = "alias/labels"
```

`albert-infer demo` has the settings of `albert-infer label`. It sets `input`, `output`, `carry` and `replace` itself.

The scripts in `jobs/` have the same settings as the commands.
"""
KINDS: Final = {str: "text", int: "integer", float: "number", bool: "`true` or `false`"}


def settings_page() -> str:
    """The page as Markdown."""
    return "\n".join([HEAD, *(line for job in JOBS for line in _section(job))])


def _section(job: str) -> Iterator[str]:
    settings, earlier = JOBS[job]
    yield f"## `albert-infer {job}`\n"
    known = set() if earlier is None else earlier.model_fields.keys()
    if earlier is not None:
        other = next(name for name, (declared, _) in JOBS.items() if declared is earlier)
        missing = sorted(known - settings.model_fields.keys())
        without = f", except {', '.join(f'`{name}`' for name in missing)}" if missing else ""
        yield f"It has all settings of `albert-infer {other}`{without}, and these:\n"
    yield "| setting | value | what it does |"
    yield "|---|---|---|"
    hints = get_type_hints(settings, include_extras=True)
    for name, field in _in_order_of_help(settings):
        if name not in known:
            flag = "no flag" if Mark.NO_FLAG in field.metadata else f"`{flag_of(name)}`"
            value = "<br>".join(filter(None, (takes(hints[name]), _default(field))))
            cells = (f"`{name}`<br>{flag}<br>`{variable_of(name)}`", value, _help(field))
            yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
    yield ""


def _in_order_of_help(settings: type[BaseModel]) -> list[tuple[str, FieldInfo]]:
    """What must be given first, then by the groups of `--help`."""
    return sorted(settings.model_fields.items(), key=lambda item: (not item[1].is_required(), _group(item[1])))


def _parameters(field: FieldInfo) -> list[Parameter]:
    return [entry for entry in field.metadata if isinstance(entry, Parameter)]


def _group(field: FieldInfo) -> int:
    named = [entry.group for entry in _parameters(field) if isinstance(entry.group, tuple)]
    return max((group.sort_key for groups in named for group in groups if isinstance(group, Group)), default=0)


def _help(field: FieldInfo) -> str:
    [told, *_] = [entry.help for entry in reversed(_parameters(field)) if entry.help] or [""]
    return told


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "**required**"
    if field.default in (None, (), ""):
        return ""
    return f"default: `{str(field.default).lower() if isinstance(field.default, bool) else field.default}`"


def takes(hint: Any) -> str:
    """What a setting of this type may be, with its bounds."""
    bounds = [text for entry in _metadata(hint) if (text := _bound(entry))]
    return ", ".join([_kind(hint), *bounds])


def _metadata(hint: Any) -> Iterator[Any]:
    for part in get_args(hint) if get_origin(hint) is not Literal else ():
        yield part
        yield from _metadata(part)
    yield from getattr(hint, "metadata", ()) if isinstance(hint, FieldInfo) else ()


def _kind(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(hint))
    if isinstance(hint, type) and issubclass(hint, Enum):
        return ", ".join(f"`{choice}`" for choice in hint)
    if get_origin(hint) is tuple:
        return "list, as `a,b`"
    if hint in KINDS:
        return KINDS[hint]
    [inner, *_] = [part for part in get_args(hint) if part is not type(None)] or [None]
    return getattr(hint, "__name__", str(hint)) if inner is None else _kind(inner)


def _bound(entry: Any) -> str:
    match entry:
        case Ge(ge=least):
            return f"at least {least}"
        case Gt(gt=least):
            return f"more than {least}"
        case Le(le=most):
            return f"at most {most}"
        case Lt(lt=most):
            return f"less than {most}"
        case MinLen():
            return "not empty"
        case _ if (pattern := getattr(entry, "pattern", None)) is not None:
            return f"matching `{pattern}`"
        case _:
            return ""


if __name__ == "__main__":
    PAGE.write_text(settings_page())
