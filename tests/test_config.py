"""Settings: where each comes from, which are refused, and that an error names what to change."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pairs import PROPERTY
from pydantic import BaseModel, ValidationError, create_model

from albert_infer.config import UNPICKLING_VARIABLES, CleanSettings, LabelSettings, NightlySettings, parse_settings
from albert_infer.config.groups import Mark, flag_of, marked
from albert_infer.config.shared import SettingsPart
from albert_infer.errors import SettingsError
from albert_infer.operations.commands import JOBS
from albert_infer.schema import RESERVED_NAMES

REQUIRED = ("--input", "in", "--output", "out")
WITHOUT_FLAG = marked(LabelSettings, Mark.NO_FLAG)
# A value other than the default for every setting: as the command line, a TOML file and the result have it.
VALUES: dict[str, tuple[str, str, object]] = {
    "input": ("a", '"a"', "a"),
    "output": ("b", '"b"', "b"),
    "dry_run": ("true", "true", True),
    "premise_column": ("s1", '"s1"', "s1"),
    "hypothesis_column": ("s2", '"s2"', "s2"),
    "id_column": ("key", '"key"', "key"),
    "carry": ("x,y", '["x", "y"]', ("x", "y")),
    "carry_source": ("true", "true", True),
    "ignore_table_format": ("true", "true", True),
    "candidates": ("new laws,sports", '["new laws", "sports"]', ("new laws", "sports")),
    "hypothesis_template": ("About {}.", '"About {}."', "About {}."),
    "fold": ("topics_multi", '"topics_multi"', "topics_multi"),
    "publish": ("both", '"both"', "both"),
    "top_k": ("3", "3", 3),
    "s3_endpoint": ("http://s3", '"http://s3"', "http://s3"),
    "s3_kms_key": ("key-id", '"key-id"', "key-id"),
    "s3_request_payer": ("true", "true", True),
    "input_bucket_owner": ("012345678901", '"012345678901"', "012345678901"),
    "output_bucket_owner": ("210987654321", '"210987654321"', "210987654321"),
    "model": ("m", '"m"', "m"),
    "model_digest": ("AB" * 32, f'"{"ab" * 32}"', "ab" * 32),
    "label_order": (
        "neutral,entailment,contradiction",
        '["neutral", "entailment", "contradiction"]',
        ("neutral", "entailment", "contradiction"),
    ),
    "long_premise": ("longest_first", '"longest_first"', "longest_first"),
    "max_length": ("64", "64", 64),
    "precision": ("bf16", '"bf16"', "bf16"),
    "review_below": ("0.7", "0.7", 0.7),
    "workers": ("2:4", '"2:4"', "2:4"),
    "gpus_per_worker": ("0.5", "0.5", 0.5),
    "allow_cpu": ("true", "true", True),
    "gpu_wait_minutes": ("60", "60", 60.0),
    "cpus_per_worker": ("3", "3", 3),
    "max_batch_tokens": ("99", "99", 99),
    "unit_rows": ("7", "7", 7),
    "max_bad_files": ("5", "5", 5),
    "max_rows": ("9", "9", 9),
    "max_rejected_share": ("0.25", "0.25", 0.25),
    "require_probe": ("true", "true", True),
    "min_agreement": ("0.5", "0.5", "0.5"),
    "gold": ("g", '"g"', "g"),
    "gold_column": ("label", '"label"', "label"),
    "min_accuracy": ("0.75", "0.75", 0.75),
    "retry_quarantined": ("true", "true", True),
    "reference": ("a,b", '["a", "b"]', ("a", "b")),
    "drift": ("fail", '"fail"', "fail"),
    "max_drift": ("0.1", "0.1", 0.1),
    "drift_columns": ("x", '["x"]', ("x",)),
    "replace": ("true", "true", True),
    "log_format": ("json", '"json"', "json"),
    "debug": ("true", "true", True),
}
# Settings that contradict others of these, with some that they agree with.
OTHERS: dict[str, tuple[str, str, object]] = {
    "hypotheses": ("s3://sets/a.csv", '"s3://sets/a.csv"', "s3://sets/a.csv"),
    "split_premise": ("sentences", '"sentences"', "sentences"),
    "fold": ("any_entailment", '"any_entailment"', "any_entailment"),
}
SPLIT: dict[str, tuple[str, str, object]] = {"split_hypothesis": ("sentences", '"sentences"', "sentences")}
# Settings of a run, so that each setting is in one of the runs.
RUNS = [VALUES, *({**{name: VALUES[name] for name in ("input", "output")}, **more} for more in (OTHERS, SPLIT))]


def parsed(*argv: str) -> LabelSettings:
    settings = parse_settings(LabelSettings, argv, program="label", about="Label.")
    assert settings is not None
    return settings


def refusal(*argv: str) -> str:
    with pytest.raises(SettingsError) as refused:
        parsed(*argv)
    return str(refused.value)


def config_file(folder: Path, text: str) -> str:
    path = folder / "settings.toml"
    path.write_text(text)
    return str(path)


def test_every_setting_is_tried_here() -> None:
    assert {name for values in RUNS for name in values} == set(LabelSettings.model_fields)


@pytest.fixture
def no_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away the variable that `precision` in conftest.py sets for all tests."""
    monkeypatch.delenv("ALBERT_INFER_PRECISION")


@pytest.mark.usefixtures("no_precision")
@pytest.mark.parametrize("values", RUNS)
def test_every_setting_has_a_flag_of_its_name_in_kebab_case_but_the_rules_for_s3(
    values: dict[str, tuple[str, str, object]],
) -> None:
    with_flag = {name: value for name, value in values.items() if name not in WITHOUT_FLAG}
    found = parsed(*[f"{flag_of(name)}={told}" for name, (told, _, _) in with_flag.items()])
    assert found.model_dump(exclude_unset=True) == {name: value for name, (_, _, value) in with_flag.items()}


@pytest.mark.usefixtures("no_precision")
@pytest.mark.parametrize("values", RUNS)
def test_every_setting_can_stand_in_the_config_file(values: dict[str, tuple[str, str, object]], tmp_path: Path) -> None:
    path = config_file(tmp_path, "".join(f"{name} = {toml}\n" for name, (_, toml, _) in values.items()))
    found = parsed("--config", path).model_dump(exclude_unset=True)
    assert found == {name: value for name, (_, _, value) in values.items()}


@pytest.mark.usefixtures("no_precision")
@pytest.mark.parametrize("values", RUNS)
def test_every_setting_can_stand_in_the_environment(
    values: dict[str, tuple[str, str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, (told, _, _) in values.items():
        monkeypatch.setenv(f"ALBERT_INFER_{name.upper()}", told)
    assert parsed().model_dump(exclude_unset=True) == {name: value for name, (_, _, value) in values.items()}


def test_flags_win_over_environment_over_file_over_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert parsed(*REQUIRED).unit_rows == 16_384
    in_file = (*REQUIRED, "--config", config_file(tmp_path, "unit-rows = 2\n"))
    assert parsed(*in_file).unit_rows == 2
    monkeypatch.setenv("ALBERT_INFER_UNIT_ROWS", "3")
    assert parsed(*in_file).unit_rows == 3
    assert parsed(*in_file, "--unit-rows", "4").unit_rows == 4


def test_the_aws_endpoint_stands_where_no_other_source_names_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://aws")
    assert parsed(*REQUIRED).s3_endpoint == "http://aws"
    in_file = (*REQUIRED, "--config", config_file(tmp_path, 's3_endpoint = "http://file"\n'))
    assert parsed(*in_file).s3_endpoint == "http://file"
    monkeypatch.setenv("ALBERT_INFER_S3_ENDPOINT", "http://ours")
    assert parsed(*in_file).s3_endpoint == "http://ours"
    assert parsed(*in_file, "--s3-endpoint", "http://flag").s3_endpoint == "http://flag"


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        (("--unit-row", "9"), "--unit-row"),
        (("--version",), "--version"),
        (("stray",), "stray"),
        (("--unit-rows", "many"), "--unit-rows"),
        (("--unit-rows", "0"), "--unit-rows"),
        (("--unit-rows", "1", "--unit-rows", "2"), "--unit-rows"),
        (("--max-length", "4"), "--max-length"),
        (("--max-batch-tokens", "0"), "--max-batch-tokens"),
        (("--max-bad-files", "-1"), "--max-bad-files"),
        (("--max-rejected-share", "1.5"), "--max-rejected-share"),
        (("--max-rejected-share", "nan"), "--max-rejected-share"),
        *[
            (("--min-agreement", value), "--min-agreement")
            for value in ("1.01", "nan", "0.9:", "0.9:0", "0.9:many", ":9", "no")
        ],
        (("--review-below", "70"), "--review-below"),
        (("--long-premise", "split"), "--long-premise"),
        (("--review-below", "nan"), "--review-below"),
        (("--gold", "g", "--min-accuracy", "1.01"), "--min-accuracy"),
        (("--min-accuracy", "0.8"), "name one with --gold"),
        (("--precision", "fp64"), "--precision"),
        (("--model-digest", "ab" * 31), "--model-digest"),
        (("--model-digest", "g" * 64), "--model-digest"),
        (("--label-order", "entailment,neutral"), "--label-order"),
        (("--label-order", "entailment,neutral,neutral"), "--label-order"),
        (("--label-order", "entailment,neutral,maybe"), "--label-order"),
        (("--gpus-per-worker", "-1"), "--gpus-per-worker"),
        *[(("--gpus-per-worker", value), "an actor computes on one GPU") for value in ("1.5", "2")],
        (("--gpu-wait-minutes", "0"), "--gpu-wait-minutes"),
        (("--gpu-wait-minutes", "inf"), "--gpu-wait-minutes"),
        (("--gpu-wait-minutes", "60", "--gpus-per-worker", "0"), "gpu_wait_minutes: with gpus_per_worker=0"),
        (("--id-column", "premise"), "id_column"),
        (("--premise-column", "hypothesis"), "premise_column"),
        (("--carry", "a,b,a"), "carry"),
        (("--carry", "_unit"), "carry"),
        (("--carry", "Label"), "carry"),
        (("--carry", "x,X"), "carry"),
        (("--carry", "all,x"), "`all` means every column"),
    ],
)
def test_a_bad_setting_is_refused_by_name(argv: tuple[str, ...], named: str) -> None:
    assert named in refusal(*REQUIRED, *argv)


@pytest.mark.parametrize(
    "name", ["x.parquet", "s3://b/labels.PARQUET", "out.csv", "out/labels.jsonl", "s3://b/*", "a,s3://b/c", "out/?"]
)
def test_an_output_that_is_no_folder_is_refused_with_what_to_write(name: str) -> None:
    assert "folder is expected" in refusal("--input", "in", "--output", name)


@pytest.mark.parametrize("flag", ["--input", "--output", "--gold"])
@pytest.mark.parametrize(
    ("uri", "told"),
    [
        (
            "gs://b/x",
            "gs://…: only local paths and s3:// are read; Google Cloud Storage has an S3 interface: see docs/",
        ),
        ("abfss://c@a.dfs.core.windows.net/x", "abfss://…: only local paths and s3:// are read; copy the files to a"),
        ("hdfs://name/x", "hdfs://…: only local paths and s3:// are read; copy the files to a local path"),
        (
            "https://h/x?X-Amz-Signature=n3verpr1nt",
            "https://…: only local paths and s3:// are read; download the files",
        ),
        ("s3a://b/x", "s3a://…: only local paths and s3:// are read; write s3://bucket/prefix"),
        ("s3:/b/x", "s3:/…: only local paths and s3:// are read; write s3://bucket/prefix"),
    ],
)
def test_a_place_of_another_kind_is_refused_by_its_flag_with_what_to_do(flag: str, uri: str, told: str) -> None:
    places = {"--input": "in", "--output": "out", flag: uri}
    line = refusal(*(word for place in places.items() for word in place))
    assert f"{flag} {told}" in line
    assert "n3verpr1nt" not in line


def test_an_output_folder_that_is_called_as_a_file_is_ends_in_a_slash() -> None:
    assert "write labels.parquet/" in refusal("--input", "in", "--output", "out/labels.parquet")
    for name in ("out/labels.parquet/", "labels", "dt=2026-11-21", "v1.2", "a,b"):
        assert parsed("--input", "in", "--output", name).output == name


@pytest.mark.parametrize(
    "argv", [("--input", "in", "--input", "b"), ("--input", "in/a.parquet", "in/b.parquet", "in/c.parquet")]
)
def test_several_inputs_are_refused_with_what_to_give(argv: tuple[str, ...]) -> None:
    assert refusal(*argv, "--output", "out").endswith("for several inputs give the folder that holds all, without `*`")


@pytest.mark.parametrize("flag", ["--dryrun", "-n", "--what-if=true"])
def test_a_dry_run_by_another_name_is_told_its_own(flag: str) -> None:
    assert f"{flag.partition('=')[0]} is not a setting; give --dry-run" in refusal(*REQUIRED, flag)


@pytest.mark.parametrize("flag", ["--dry-run", "--dryrun", "-n", "--dry-run=true"])
def test_a_job_without_a_dry_run_says_what_there_is(flag: str) -> None:
    with pytest.raises(SettingsError, match="albert-infer plan shows what one night will take"):
        parse_settings(NightlySettings, ["--input-root", "in", "--output-root", "out", flag], program="n", about="N.")
    with pytest.raises(SettingsError, match="without --delete nothing is removed"):
        parse_settings(CleanSettings, ["--output-root", "out", flag], program="clean", about="Clean.")


def test_a_missing_setting_is_refused_by_name() -> None:
    assert "--output is missing" in refusal("--input", "in")
    assert "--input is missing" in refusal()


@pytest.mark.parametrize("argv", [("--inptu", "i", "--output", "o"), ("--inptu=i", "--output", "o"), ("--inptu", "i")])
def test_a_mistyped_flag_is_named_where_the_right_one_must_be_given(argv: tuple[str, ...]) -> None:
    assert (
        refusal(*argv) == "the settings of label: --inptu is not a setting; did you mean --input?; see label --help-all"
    )
    assert "-x is not a setting; see" in refusal("-x", "in")
    assert "--dryrun is not a setting; give --dry-run" in refusal("--input", "in", "--dryrun")


def test_a_place_without_its_flag_is_told_which_is_missing() -> None:
    told = "in has no flag before it, and --input is missing; if this is the value of --input, write --input in"
    assert refusal("in", "--output", "o").endswith(told)
    assert refusal("in").endswith(told)
    assert refusal("in", "out").endswith(told)
    assert refusal("--input", "in", "out").endswith("if this is the value of --output, write --output out")
    with pytest.raises(SettingsError, match="write --output-root out"):
        parse_settings(CleanSettings, ["out"], program="clean", about="Clean.")


@pytest.mark.parametrize("workers", ["0", "-1", "1:", ":2", "3:2", "1:2:3", "two", "1.5", ""])
def test_what_is_no_range_of_workers_is_refused(workers: str) -> None:
    with pytest.raises(ValidationError, match="workers"):
        LabelSettings(input="a", output="b", workers=workers)


@PROPERTY
@given(st.integers(1, 99), st.integers(0, 99))
def test_workers_are_a_number_or_a_range(low: int, more: int) -> None:
    assert LabelSettings(input="a", output="b", workers=f"{low}:{low + more}").worker_range == (low, low + more)
    assert LabelSettings(input="a", output="b", workers=f"{low}").worker_range == (low, low)
    assert LabelSettings(input="a", output="b").worker_range is None


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("unit_row = 5", "unit_row"),
        ('unit_rows = "many"', "--unit-rows"),
        ("[label]\nunit_rows = 5", "label"),
        (
            "unit_rows = ",
            "it is not valid TOML: Invalid value (at end of document); write each setting on its own line",
        ),
        ("unit_rows = 1\nunit_rows = 2\n", "Cannot overwrite a value (at line 2, column 14)"),
        ("--unit-rows 5", "it is not valid TOML: Expected '=' after a key in a key/value pair (at line 1, column 13)"),
        ('config = "other.toml"', "it has config, which is not a setting of a file"),
    ],
)
def test_a_bad_config_file_is_refused_by_what_is_wrong(tmp_path: Path, text: str, named: str) -> None:
    path = config_file(tmp_path, text)
    told = refusal(*REQUIRED, "--config", path)
    assert named in told
    assert path in told or named.startswith("--"), "a value is refused by its setting, whoever gives it"
    assert "Error" not in told


def test_a_config_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_bytes(b"\xef\xbb\xbfunit_rows = 7\r\n")
    assert parsed(*REQUIRED, "--config", str(path)).unit_rows == 7


@pytest.mark.parametrize(
    ("raw", "line"), [("unit_rows = 7".encode("utf-16"), 1), (b'unit_rows = 7\nmodel = "m\xfc"', 2)]
)
def test_a_config_file_that_is_not_utf8_is_refused_by_its_line(tmp_path: Path, raw: bytes, line: int) -> None:
    path = tmp_path / "settings.toml"
    path.write_bytes(raw)
    assert (
        refusal(*REQUIRED, "--config", str(path))
        == f"--config {path}: line {line} is not UTF-8; save the file as UTF-8"
    )


@pytest.mark.parametrize("flag", ["--carry", "--label-order"])
def test_a_list_that_is_nested_deeply_is_refused(flag: str, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = "[" * 100_000
    assert "nested too deeply" in refusal(*REQUIRED, flag, deep)
    monkeypatch.setenv(f"ALBERT_INFER_{flag.removeprefix('--').upper().replace('-', '_')}", deep)
    assert "nested too deeply" in refusal(*REQUIRED)


def test_a_config_file_that_is_nested_deeply_or_a_folder_is_refused(tmp_path: Path) -> None:
    deep = config_file(tmp_path, f"carry = {'[' * 100_000}")
    assert f"--config {deep}: a value is nested too deeply" in refusal(*REQUIRED, "--config", deep)
    assert f"--config {tmp_path}: Is a directory" in refusal(*REQUIRED, "--config", str(tmp_path))


def test_a_config_file_that_is_not_there_is_refused() -> None:
    assert "nowhere.toml" in refusal(*REQUIRED, "--config", "nowhere.toml")


@pytest.mark.parametrize(
    "argv",
    [
        *[("--carry", "a,b"), ("--carry", "a", "--carry", "b"), ("--carry=a,b,",)],
        *[("--carry=a,", "--carry=b"), ("--carry", " a, b ")],
    ],
)
def test_carried_columns_may_be_one_list_or_several_flags(argv: tuple[str, ...]) -> None:
    assert parsed(*REQUIRED, *argv).carry == ("a", "b")


@pytest.mark.parametrize("name", sorted(RESERVED_NAMES))
def test_a_carried_column_with_the_name_of_ours_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match=f"carry: `{name}`"):
        LabelSettings(input="a", output="b", carry=("topic", name))


def test_a_column_that_is_ours_in_some_runs_may_be_carried_in_the_others() -> None:
    assert LabelSettings(input="a", output="b", carry=("needs_review",)).carry == ("needs_review",)
    with pytest.raises(ValidationError, match="carry: `needs_review`"):
        LabelSettings(input="a", output="b", carry=("needs_review",), review_below=0.7)
    assert LabelSettings(input="a", output="b", carry=("n_windows",)).carry == ("n_windows",)
    with pytest.raises(ValidationError, match="carry: `n_windows`"):
        LabelSettings(input="a", output="b", carry=("n_windows",), long_premise="window")


def test_long_premises_may_be_read_in_windows() -> None:
    assert parsed(*REQUIRED, "--long-premise", "window").long_premise == "window"


def test_settings_cannot_be_changed() -> None:
    settings = LabelSettings(input="a", output="b")
    with pytest.raises(ValidationError, match="frozen"):
        settings.unit_rows = 1


@pytest.mark.parametrize("settings", [job.settings for job in JOBS.values()])
def test_checks_are_built_at_their_first_use(settings: type[BaseModel]) -> None:
    parts = [each for each in settings.__mro__ if each.__module__.startswith("albert_infer.")]
    assert [each for each in parts if not issubclass(each, SettingsPart)] == []
    assert not create_model("OfATest", __base__=settings).__pydantic_complete__


def test_a_setting_that_does_not_exist_cannot_be_given() -> None:
    with pytest.raises(ValidationError, match="unit_row"):
        LabelSettings(input="a", output="b", unit_row=1)  # type: ignore[call-arg]


def test_help_is_as_it_is_written_and_shows_no_default_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    about = "Label.\n\nlabel --input s3://inbox/<date>/\n\nA flag, or\nALBERT_INFER_<NAME>, or `--config`."
    assert parse_settings(LabelSettings, ["--help"], program="label", about=about) is None
    shown = capsys.readouterr().out
    assert "s3://inbox/<date>/" in shown
    assert "A flag, or ALBERT_INFER_<NAME>, or `--config`." in shown
    assert "()" not in shown
    assert "[default: premise]" in shown


@pytest.mark.parametrize("name", UNPICKLING_VARIABLES)
def test_an_environment_that_lets_ray_unpickle_what_files_hold_is_refused(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for harmless in ("", "0", "false"):
        monkeypatch.setenv(name, harmless)
        parsed(*REQUIRED)
    for told in ("1", "true", "True"):
        monkeypatch.setenv(name, told)
        assert name in refusal(*REQUIRED)


def test_the_variables_are_those_that_ray_reads() -> None:
    ray_data = Path(find_spec("ray").submodule_search_locations[0], "data")  # type: ignore[union-attr,index]
    read = {name for path in ray_data.rglob("*.py") for name in re.findall(r"RAY_DATA_AUTOLOAD_\w+", path.read_text())}
    assert read == set(UNPICKLING_VARIABLES)


def service_variables(prefix: str) -> dict[str, str]:
    """What Kubernetes puts into a pod for a service with two ports, the second of them named."""
    docker = {f"PORT_8265_TCP{end}": "x" for end in ("", "_PROTO", "_PORT", "_ADDR")}
    own = {"SERVICE_HOST": "10.0.0.1", "SERVICE_PORT": "8265", "SERVICE_PORT_GCS_SERVER": "6379", "PORT": "tcp://x"}
    return {f"{prefix}_{name}": value for name, value in (own | docker).items()}


@pytest.mark.parametrize("service", ["ALBERT_INFER", "ALBERT_INFER_RAYCLUSTER_X7_HEAD_SVC", "ALBERT_INFER_OUTPUT"])
def test_variables_of_kubernetes_services_are_no_settings(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = parsed(*REQUIRED)
    for name, value in service_variables(service).items():
        monkeypatch.setenv(name, value)
    assert parsed(*REQUIRED) == before
    monkeypatch.setenv("ALBERT_INFER_OUTPUT", "b")
    assert parsed("--input", "in").output == "b"


@pytest.mark.parametrize(
    "name", ["ALBERT_INFER_REPORT", "ALBERT_INFER_SERVICE", "ALBERT_INFER_X_PORT_8265", "ALBERT_INFER_SERVICE_PORTS"]
)
def test_what_only_looks_like_one_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")
    assert name in refusal(*REQUIRED)


def test_a_config_file_is_found_below_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    Path(config_file(tmp_path, "unit_rows = 7")).rename(tmp_path / "mine.toml")
    assert parsed(*REQUIRED, "--config", "~/mine.toml").unit_rows == 7


def test_a_column_whose_labels_are_compared_is_carried() -> None:
    assert "`genre` is not carried" in refusal("--input", "a", "--output", "b", "--drift-columns", "genre")
    assert parsed("--input", "a", "--output", "b", "--carry", "all", "--drift-columns", "genre").drift_columns == (
        "genre",
    )
