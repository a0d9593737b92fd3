"""Flags of earlier versions are refused in one line that says what to write instead."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pyarrow as pa
import pytest
from pairs import RECIPE, wordpiece
from pydantic import BaseModel

from albert_infer.config import (
    CleanSettings,
    EvaluateSettings,
    LabelSettings,
    NightlySettings,
    SubmitSettings,
    VerifySettings,
    parse_settings,
)
from albert_infer.errors import SettingsError
from albert_infer.prepare.tokenization import PairTokenizer
from albert_infer.read.columns import FileColumns, run_columns
from albert_infer.read.planning import LabelRecipe, Plan, make_plan
from albert_infer.read.survey import InputFile, Survey
from albert_infer.schema import HYPOTHESIS, PREMISE, LongPremiseRule, ModelRecipe
from albert_infer.storage.folder import ObjectPin
from albert_infer.storage.local import LocalFolder

PLACES: dict[type[BaseModel], tuple[str, ...]] = {
    LabelSettings: ("--input", "in", "--output", "out"),
    NightlySettings: ("--input-root", "in", "--output-root", "out"),
    SubmitSettings: ("--input-root", "in", "--output-root", "out"),
    EvaluateSettings: ("--run", "in", "--output", "out"),
    CleanSettings: ("--output-root", "out"),
}
LABELLING = (LabelSettings, NightlySettings, SubmitSettings)
TRUNCATION = "with `truncate` for what was `premise`, or `longest_first`"
AGREEMENT = "with SHARE:PAIRS, as 0.99:4000, or `off` for what was 0"


def refusal(settings: type[BaseModel], *argv: str) -> str:
    with pytest.raises(SettingsError) as refused:
        parse_settings(settings, [*PLACES[settings], *argv], program="job", about="")
    assert refused.value.exit_code == 2
    line = str(refused.value)
    assert "\n" not in line
    return line


def parsed(*argv: str) -> LabelSettings:
    settings = parse_settings(LabelSettings, [*PLACES[LabelSettings], *argv], program="job", about="")
    assert settings is not None
    return settings


@pytest.mark.parametrize("settings", [*LABELLING, EvaluateSettings])
@pytest.mark.parametrize("word", ["--truncation=premise", "--truncation", "--truncation=longest_first"])
def test_truncation_is_refused_with_the_flag_that_has_it(settings: type[BaseModel], word: str) -> None:
    told = f"the settings of job: --truncation is no longer a setting; use --long-premise, {TRUNCATION}"
    assert refusal(settings, word) == told


@pytest.mark.parametrize("settings", LABELLING)
def test_agreement_sample_is_refused_with_the_flag_that_has_it(settings: type[BaseModel]) -> None:
    told = f"the settings of job: --agreement-sample is no longer a setting; use --min-agreement, {AGREEMENT}"
    assert refusal(settings, "--agreement-sample", "0") == told


def test_a_job_that_never_had_a_flag_knows_nothing_of_it() -> None:
    assert "--agreement-sample" in refusal(EvaluateSettings, "--agreement-sample", "0")
    assert "--min-agreement" not in refusal(EvaluateSettings, "--agreement-sample", "0")


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ('truncation = "premise"', f"truncation is no longer a setting; use long_premise, {TRUNCATION}"),
        ("agreement-sample = 5", f"agreement-sample is no longer a setting; use min_agreement, {AGREEMENT}"),
    ],
)
def test_old_keys_of_a_file_are_refused_with_the_new_ones(tmp_path: Path, key: str, told: str) -> None:
    path = tmp_path / "settings.toml"
    path.write_text(f"{key}\n")
    for settings in LABELLING:
        assert refusal(settings, "--config", str(path)) == f"--config {path}: {told}"


@pytest.mark.parametrize(
    ("old", "new", "values"),
    [("TRUNCATION", "LONG_PREMISE", TRUNCATION), ("AGREEMENT_SAMPLE", "MIN_AGREEMENT", AGREEMENT)],
)
def test_old_variables_are_refused_with_the_new_ones(
    old: str, new: str, values: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"ALBERT_INFER_{old}", "1")
    told = f"the settings of job: ALBERT_INFER_{old} is no longer a setting; use ALBERT_INFER_{new}, {values}"
    for settings in PLACES:
        assert refusal(settings) == told


@pytest.mark.parametrize("settings", [*LABELLING, CleanSettings])
@pytest.mark.parametrize(
    "flag", ["--s3-kms-key", "--s3-request-payer", "--input-bucket-owner", "--output-bucket-owner"]
)
def test_rules_for_s3_are_no_flags_and_the_line_says_where_they_are_read(settings: type[BaseModel], flag: str) -> None:
    name = flag.removeprefix("--").replace("-", "_")
    if name not in settings.model_fields:
        assert flag in refusal(settings, flag)
        return
    told = f"{flag} is not a flag; write {name} in the --config file, or set ALBERT_INFER_{name.upper()}"
    for words in ((flag, "012345678901"), (f"{flag}=012345678901",), (flag,)):
        assert refusal(settings, *words) == f"the settings of job: {told}"


def test_a_bad_rule_for_s3_is_named_as_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALBERT_INFER_INPUT_BUCKET_OWNER", "12")
    assert "job: input_bucket_owner String should match" in refusal(LabelSettings)


def test_a_path_that_is_called_as_an_old_flag_is_taken() -> None:
    assert parsed("--carry=--truncation").carry == ("--truncation",)
    assert parse_settings(VerifySettings, ["--output", "truncation"], program="job", about="") is not None


# --- what the merged settings say


@pytest.mark.parametrize(
    ("said", "least", "pairs"),
    [
        (None, 0.99, 1000),
        ("0.995", 0.995, 1000),
        ("0", 0.0, 1000),
        ("1", 1.0, 1000),
        ("0.99:4816", 0.99, 4816),
        ("off", 0.0, 0),
    ],
)
def test_one_setting_says_how_many_pairs_are_compared_and_how_many_must_agree(
    said: str | None, least: float, pairs: int
) -> None:
    settings = parsed(*([] if said is None else ["--min-agreement", said]))
    assert (settings.least_agreement, settings.agreement_pairs) == (least, pairs)


def test_an_agreement_may_be_a_number_in_a_file_and_in_python(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text("min_agreement = 0.5\n")
    assert parsed("--config", str(path)).least_agreement == 0.5
    assert LabelSettings.model_validate({"input": "a", "output": "b", "min_agreement": 0.5}).least_agreement == 0.5


# What `--truncation` and `--long-premise` gave before they were one: the recipe, the id of the unit and of the plan.
BEFORE: list[tuple[LongPremiseRule, dict[str, str], str, str]] = [
    ("truncate", {"truncation": "premise"}, "6f328f68acf28338", "ede7b491ba987a0b"),
    ("longest_first", {"truncation": "longest_first"}, "e90dc9b38ba7073a", "3d83f6eeeac77468"),
    ("window", {"truncation": "premise", "long_premise": "window"}, "399e09dc64b72ea8", "4a9da57e72c572a7"),
]


def planned(settings: LabelSettings) -> Plan:
    """A plan of one file that is the same everywhere, as the job makes it."""
    tokenizer = PairTokenizer(
        wordpiece().to_str(),
        cls_token="[CLS]",  # noqa: S106  (no password)
        sep_token="[SEP]",  # noqa: S106
        max_length=512,
        long_premise=settings.long_premise,
    )
    # As in the runs whose names these are: with no order of labels.
    model = cast(ModelRecipe, {"digests": RECIPE["model"]["digests"]})
    recipe: LabelRecipe = {
        **RECIPE,
        "model": model,
        "truncation": tokenizer.frame.truncation,
        "max_length": tokenizer.frame.max_length,
    }
    columns = FileColumns("a.parquet", pa.schema([(PREMISE, pa.string()), (HYPOTHESIS, pa.string())]))
    found = run_columns([columns], ["a.parquet"], settings).columns
    file = InputFile(ObjectPin("a.parquet", 1000, "v1"), (3,))
    return make_plan(Survey(LocalFolder("/night"), found, (file,), (), {}), settings, recipe, 512)


@pytest.mark.parametrize(("rule", "said", "unit_id", "plan_id"), BEFORE)
def test_units_have_the_names_that_they_had_before_the_flags_were_one(
    rule: LongPremiseRule, said: dict[str, str], unit_id: str, plan_id: str
) -> None:
    plan = planned(parsed("--long-premise", rule))
    assert {name: plan.recipe[name] for name in ("truncation", "long_premise") if name in plan.recipe} == said
    assert ([unit.unit_id for unit in plan.units], plan.plan_id) == ([unit_id], plan_id)
