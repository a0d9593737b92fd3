"""Every setting of the jobs, declared once: its name, its type, its default, and why one would change it.

A setting is read from a flag, else from `ALBERT_INFER_<NAME>`, else from the TOML file named by `--config`, else its
default stands, which for the S3 endpoint is AWS_ENDPOINT_URL; the library reads them all from the one declaration here.
Settings that exist are valid. Nothing else in the package reads the environment.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from cyclopts import App, CycloptsError, Group, Parameter
from cyclopts.config import Dict, Env, Toml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from albert_infer import schema
from albert_infer.errors import SettingsError

# What the operator may ask for; `schema.Precision` is what a run resolves it to.
PrecisionSetting = Literal["auto", "fp32", "bf16"]

VARIABLE_PREFIX = "ALBERT_INFER_"

DATA = Group("Input and output", sort_key=1)
MODEL = Group("Model", sort_key=2)
SPEED = Group("Speed and resources", sort_key=3)
LIMITS = Group("Limits and safety", sort_key=4)


def _split_commas(value: Any) -> Any:
    """`a,b` on the command line and ["a", "b"] in a file mean the same."""
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list | tuple):
        return value
    return tuple(name for part in value for name in str(part).split(",") if name)


Names = Annotated[tuple[str, ...], BeforeValidator(_split_commas)]

# Settings of every job.
S3Endpoint = Annotated[
    str | None,
    Parameter(
        group=DATA,
        help="An S3 server that is not AWS (else AWS_ENDPOINT_URL). Credentials come from the AWS chain only.",
    ),
]
Debug = Annotated[bool, Parameter(group=LIMITS, help="Print tracebacks and Ray's own logs.")]


@Parameter(name="*", negative="", show_env_var=False)
class LabelSettings(BaseModel):
    """The settings of `jobs/label_pairs.py`, frozen and valid by construction."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: Annotated[
        str,
        Parameter(group=DATA, help="Parquet pairs: a folder (at any depth) or one file; local path, file:// or s3://."),
    ]
    output: Annotated[
        str, Parameter(group=DATA, help="Folder for the labelled Parquet; must not lie inside the input, nor hold it.")
    ]
    premise_column: Annotated[
        str, Parameter(group=DATA, help="The premise's column, if the input calls it otherwise.")
    ] = schema.PREMISE
    hypothesis_column: Annotated[
        str, Parameter(group=DATA, help="The hypothesis's column, if the input calls it otherwise.")
    ] = schema.HYPOTHESIS
    id_column: Annotated[
        str | None,
        Parameter(group=DATA, help="The pair's id; named here it must exist, else `pair_id` is taken if there is one."),
    ] = None
    carry: Annotated[
        Names,
        Parameter(group=DATA, help="Input columns to keep in the output, as `a,b`, or `all`."),
    ] = ()
    carry_source: Annotated[
        bool, Parameter(group=DATA, help="Add `source_file` and `source_row`: the way back to the input row.")
    ] = False
    s3_endpoint: S3Endpoint = None

    model: Annotated[
        str,
        Parameter(group=MODEL, help="`builtin`, a checkpoint folder (local or s3://), or a hub id `name@revision`."),
    ] = "builtin"
    label_order: Annotated[
        Names,
        Parameter(
            group=MODEL,
            help="The labels of outputs 0, 1, 2, for a checkpoint that calls them LABEL_0, LABEL_1, LABEL_2.",
        ),
    ] = ()
    truncation: Annotated[
        Literal["premise", "longest_first"],
        Parameter(group=MODEL, help="What a pair that is too long loses; `premise` never cuts the hypothesis."),
    ] = "premise"
    max_length: Annotated[
        int | None,
        # [CLS] premise [SEP] hypothesis [SEP] with one token of each is 5.
        Field(ge=5),
        Parameter(group=MODEL, help="Tokens a pair may have; the checkpoint's max_position_embeddings if not given."),
    ] = None
    precision: Annotated[
        PrecisionSetting,
        Parameter(
            group=MODEL, help="`auto` is bf16 where the device computes in it, else fp32; fixed before planning."
        ),
    ] = "auto"

    workers: Annotated[
        str | None,
        Parameter(
            group=SPEED, help="Classify actors, N or MIN:MAX; by default one a GPU, or as many as the CPUs carry."
        ),
    ] = None
    gpus_per_worker: Annotated[
        float | None,
        Field(ge=0),
        Parameter(group=SPEED, help="GPUs an actor takes: 1 by default where there are GPUs; 0 forces the CPU."),
    ] = None
    cpus_per_worker: Annotated[
        int | None,
        Field(ge=0),
        Parameter(group=SPEED, help="Logical CPUs an actor takes on a machine without GPUs; its torch threads follow."),
    ] = None
    max_batch_tokens: Annotated[
        int | None,
        Field(ge=1),
        Parameter(group=SPEED, help="Tokens a forward pass may have; lower it if the device runs out of memory."),
    ] = None
    # 16,384 rows are seconds of GPU time and about 4 MB of Parquet: small enough to lose, large enough to be a file.
    unit_rows: Annotated[
        int, Field(ge=1), Parameter(group=SPEED, help="Rows committed as one: what a kill may cost, and a file's size.")
    ] = 16_384

    max_bad_files: Annotated[
        int,
        Field(ge=0),
        Parameter(group=LIMITS, help="Unreadable input files to accept; above it nothing is published."),
    ] = 0
    max_rejected_share: Annotated[
        float,
        Field(ge=0, le=1),
        Parameter(group=LIMITS, help="Share of rows without a label to accept; above it nothing is published."),
    ] = 0.05
    replace: Annotated[
        bool, Parameter(group=LIMITS, help="Publish over the run that stands at the output; shared units are kept.")
    ] = False
    debug: Debug = False

    @field_validator("workers")
    @classmethod
    def _workers_are_a_range(cls, value: str | None) -> str | None:
        if value is not None:
            parts = value.split(":")
            if (
                len(parts) > 2
                or not all(part.isdecimal() for part in parts)
                or not 1 <= int(parts[0]) <= int(parts[-1])
            ):
                raise ValueError("expected N or MIN:MAX with 1 <= MIN <= MAX")
        return value

    @field_validator("gpus_per_worker")
    @classmethod
    def _gpus_are_whole_or_a_part_of_one(cls, value: float | None) -> float | None:
        if value is not None and value > 1 and not value.is_integer():
            raise ValueError("expected a part of one GPU, or a whole number")  # Ray schedules nothing between
        return value

    @field_validator("carry")
    @classmethod
    def _carried_columns_differ(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) < len(value):
            raise ValueError("expected each column once")
        return value

    @field_validator("label_order")
    @classmethod
    def _label_order_names_each_label(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if value and sorted(value) != sorted(schema.NliLabel):
            raise ValueError("expected each of entailment, neutral, contradiction once")
        return value

    @model_validator(mode="after")
    def _columns_differ(self) -> LabelSettings:
        names = [self.premise_column, self.hypothesis_column, *([self.id_column] if self.id_column else [])]
        if len(set(names)) < len(names):
            raise ValueError("premise_column, hypothesis_column and id_column must be three different columns")
        clash = [name for name in self.carry if name in schema.RESERVED_NAMES]
        if clash:
            raise ValueError(f"carry: `{clash[0]}` is the name of a column of ours; rename it in the input")
        return self

    @property
    def worker_range(self) -> tuple[int, int] | None:
        """The least and the most classify actors, or None to follow the cluster."""
        if self.workers is None:
            return None
        low, _, high = self.workers.partition(":")
        return int(low), int(high or low)


@Parameter(name="*", negative="", show_env_var=False)
class VerifySettings(BaseModel):
    """The settings of `jobs/verify_labels.py`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    output: Annotated[str, Parameter(group=DATA, help="The folder of a published run: local path, file:// or s3://.")]
    input: Annotated[
        str | None,
        Parameter(group=DATA, help="The input of that run; with it every row is compared, in order, not only counted."),
    ] = None
    s3_endpoint: S3Endpoint = None
    debug: Debug = False


Settings = TypeVar("Settings", bound=BaseModel)


def parse_settings(settings: type[Settings], argv: Sequence[str], *, program: str, about: str) -> Settings | None:
    """The settings that `argv`, the environment and `--config FILE` add up to; None if only help was asked for.

    Raises SettingsError, naming the setting and the choices.
    """
    _refuse_unknown_variables(settings, program)
    parsed: list[Settings] = []
    app = _app(program, about, lambda *, settings: parsed.append(settings), settings)
    try:
        app.meta(list(argv), exit_on_error=False, print_error=False)
    except (CycloptsError, OSError, ValueError) as error:
        raise SettingsError(f"the settings of {program}", _found(error), f"see {program} --help") from error
    return parsed[0] if parsed else None


def _app(program: str, about: str, receive: Callable[..., None], settings: type[BaseModel]) -> App:
    """A program with one flag per field of `settings`, and `--config` before all others."""
    app = App(name=program, help=about, version_flags=[], result_action="return_value")
    rest = [_aws_environment()] if "s3_endpoint" in settings.model_fields else []
    app.config = [_environment(), *rest]
    receive.__annotations__ = {"settings": settings}
    app.default(receive)

    @app.meta.default
    def with_config(
        *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
        config: Annotated[
            Path | None,
            Parameter(
                group=DATA, show_env_var=False, help="A TOML file with any of these settings; flags win over it."
            ),
        ] = None,
    ) -> None:
        if config is not None:
            app.config = [_environment(), Toml(config, must_exist=True), *rest]
        app(tokens, exit_on_error=False, print_error=False)

    return app


def _refuse_unknown_variables(settings: type[BaseModel], program: str) -> None:
    """A variable that looks like a setting and is none is a mistake, as an unknown flag is.

    One of another job is none: a night that labels and verifies has one environment.
    """
    known = {
        f"{VARIABLE_PREFIX}{name.upper()}"
        for declared in (settings, LabelSettings, VerifySettings)
        for name in declared.model_fields
    }
    unknown = sorted(name for name in os.environ if name.startswith(VARIABLE_PREFIX) and name not in known)
    if unknown:
        found = f"the environment has {unknown[0]}, which is no setting"
        raise SettingsError(f"the settings of {program}", found, f"see {program} --help")


def _environment() -> Env:
    return Env(VARIABLE_PREFIX, command=False)


def _aws_environment() -> Dict:
    """Read here rather than left to the SDK, so that workers on other machines use the driver's endpoint."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL")
    return Dict({"s3_endpoint": endpoint} if endpoint else {}, source="AWS_ENDPOINT_URL")


def _found(error: Exception) -> str:
    """One line of what the library says, without its links."""
    cause = error.__cause__
    if isinstance(cause, ValidationError):
        return "; ".join(f"{_place(entry)}{entry['msg'].removeprefix('Value error, ')}" for entry in cause.errors())
    if isinstance(error, OSError):
        return f"--config {error.filename}: {error.strerror}"
    return " ".join(str(error).split())


def _place(entry: Any) -> str:
    return "".join(f"--{str(part).replace('_', '-')} " for part in entry["loc"][:1])
