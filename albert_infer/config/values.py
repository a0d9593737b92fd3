"""The types of settings, with checks that refuse a mistyped location before a run writes labels to it."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

from cyclopts import Parameter
from pydantic import AfterValidator, BeforeValidator, Field

from albert_infer import schema
from albert_infer.common.schemes import checked_scheme
from albert_infer.config.nights import checked_nights

# Names of files. A job writes into a folder.
FILE_NAME: Final = re.compile(
    r"\.(?:parquet|pq|parq|csv|tsv|jsonl?|txt|html?|orc|avro|arrow|gz|zip|safetensors|bin|pt)$", re.I
)
# The placeholder of the night's date in a partition.
DATE_PLACEHOLDER: Final = "{date}"
# Enough to distinguish 98 % from 99 %. On two cores an ALBERT-base takes about a minute, mostly in fp32.
AGREEMENT_PAIRS: Final = 1000


def checked_folder(value: str) -> str:
    """Return the location unchanged. Raises ValueError for the name of a file, a pattern or a list."""
    if FILE_NAME.search(value):
        name = value.rpartition("/")[2]
        raise ValueError(f"`{name}` looks like a file, and a folder is expected; if it is a folder, write {name}/")
    if re.search(r"[*?]|,\s*\w+://", value):
        raise ValueError("one folder is expected; a pattern is not expanded, and a list is not split")
    return value


def _split_commas(value: Any) -> Any:
    """The names in `a,b` on the command line, and in `a, b` or ["a", "b"] in a file."""
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list | tuple):
        return value
    return tuple(name for part in value for name in map(str.strip, str(part).split(",")) if name)


def _each_label_once(value: tuple[str, ...]) -> tuple[str, ...]:
    if value and not schema.is_label_order(value):
        raise ValueError("expected each of entailment, neutral, contradiction once, or of entailment, not_entailment")
    return value


def _digits(value: Any) -> Any:
    """A number of a file as the text of a flag; other values unchanged."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _range_of_workers(value: str) -> str:
    parts = value.split(":")
    if len(parts) > 2 or not all(part.isdecimal() for part in parts) or not 1 <= int(parts[0]) <= int(parts[-1]):
        raise ValueError("expected N or MIN:MAX with 1 <= MIN <= MAX")
    return value


def agreement_limits(value: str) -> tuple[float, int]:
    """The share of labels that must agree, and the number of pairs to compare; both 0 for `off`."""
    if value == "off":
        return 0.0, 0
    refused = ValueError("expected SHARE from 0 to 1, as 0.99; SHARE:PAIRS, as 0.99:4000; or off")
    share, colon, pairs = value.partition(":")
    try:
        least, compared = float(share), int(pairs) if colon else AGREEMENT_PAIRS
    except ValueError:
        raise refused from None
    if not 0 <= least <= 1 or compared < 1:
        raise refused
    return least, compared


def _agreement(value: str) -> str:
    agreement_limits(value)
    return value


def _without_date(value: str) -> str:
    if DATE_PLACEHOLDER in value:
        raise ValueError(f"{DATE_PLACEHOLDER} is allowed in --partition only")
    return value


Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
AwsAccount = Annotated[str, Field(pattern=r"^\d{12}$")]
WorkerRange = Annotated[str, BeforeValidator(_digits), AfterValidator(_range_of_workers)]
AgreementShare = Annotated[str, BeforeValidator(_digits), AfterValidator(_agreement)]
Names = Annotated[tuple[str, ...], BeforeValidator(_split_commas), Parameter(show_default=False)]
LabelOrder = Annotated[Names, AfterValidator(_each_label_once)]
AnyLocation = Annotated[str, AfterValidator(checked_scheme)]
Location = Annotated[AnyLocation, AfterValidator(checked_nights)]
OutputFolder = Annotated[Location, AfterValidator(checked_folder)]
InputRoot = Annotated[AnyLocation, AfterValidator(_without_date), AfterValidator(checked_nights)]
Root = Annotated[InputRoot, AfterValidator(checked_folder)]
