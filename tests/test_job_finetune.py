"""The fine-tuning job as its user starts it: what it writes, and that nobody can tell who killed it."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from finetune import main
from forked import forked, run_forked
from job_runs import Outcome, in_open_session, run_main, wait_until
from s3_server import S3Location
from training_models import (
    Learning,
    learnable_pairs,
    learner_of,
    save_model,
    tiny_student,
    tiny_teacher,
    training_pairs,
)
from transformers import AlbertForSequenceClassification

from albert_infer import storage
from albert_infer.common.failpoints import VARIABLE
from albert_infer.labeler import Labeler
from albert_infer.learning.training.batches import epoch_batches
from albert_infer.learning.training.start import starting_model, teacher_model
from albert_infer.model.calibration import calibration_json
from albert_infer.model.checkpoint import load_checkpoint
from albert_infer.model.checkpoint_files import checkpoint_files
from albert_infer.schema import LABEL, NliLabel

pytestmark = [
    pytest.mark.ray,
    # Ray's own: copying a DataContext reads its deprecated settings, and its training sets one.
    pytest.mark.filterwarnings("ignore:`use_.*deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*exclude_resources.*"),
]
# 9 steps an epoch.
EPOCHS, STEPS = 5, 45
HOW = {"epochs": EPOCHS, "batch-pairs": 8, "learning-rate": 2e-3, "evaluations-per-epoch": 1, "patience": 15}


@dataclass(frozen=True)
class Start:
    """A folder with pairs and a model to start from."""

    folder: Path

    def argv(self, output: Path | str, **changed: object) -> list[str]:
        """Flags of a run that learns the labels, but for what is changed."""
        flags = {
            "train": self.folder / "train.parquet",
            "eval": self.folder / "eval.parquet",
            "model": self.folder / "model",
            "output": output,
            **HOW,
            **{name.replace("_", "-"): value for name, value in changed.items()},
        }
        return [word for name, value in flags.items() for word in (f"--{name}", str(value))]


@pytest.fixture(scope="module", autouse=True)
def prompt_controller() -> Iterator[None]:
    """Ray Train asks its workers every two seconds, and a worker waits with its next milestone until it was asked."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.1")
        # A process of its own, for clouds that announce that they take a node away.
        environment.setenv("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
        yield


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Start:
    folder = tmp_path_factory.mktemp("start")
    pairs = learnable_pairs()
    skipped = pa.table({"premise": ["dogs run", None], "hypothesis": ["no dogs", "no"], "gold_label": ["-", "neutral"]})
    pq.write_table(pa.concat_tables([pairs, skipped]), folder / "train.parquet")
    pq.write_table(pairs, folder / "eval.parquet")
    save_model(half_taught(), folder / "model")
    return Start(folder)


def half_taught() -> AlbertForSequenceClassification:
    """A model that has less than half of the labels right, and learns the rest in a few steps."""
    teacher, pairs = tiny_teacher(), training_pairs()
    learner = learner_of(teacher, steps=STEPS, settings=Learning(seed=7))
    batches = (epoch_batches(pairs.encoded.lengths, 8, seed=7, epoch=epoch) for epoch in range(EPOCHS))
    for step, positions in enumerate(chain.from_iterable(batches)):
        learner.step(step, pairs, positions)
    assert learner.evaluate(pairs).accuracy < 0.7
    return teacher


def finetuned(argv: Sequence[str]) -> Outcome:
    """The job in this process, in its open Ray session."""
    return run_main(main, *argv)


def metrics_of(output: Path) -> dict[str, Any]:
    metrics: dict[str, Any] = json.loads((output / "metrics.json").read_text())
    return metrics


def without_times(milestones: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in each.items() if name != "seconds"} for each in milestones]


@pytest.fixture(scope="module")
def made(start: Start, session: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one worker made without being disturbed."""
    output = tmp_path_factory.mktemp("made") / "checkpoint"
    outcome = finetuned(start.argv(output))
    assert outcome.exit_code == 0, outcome.stderr
    assert "right        " in outcome.stdout
    return output


def test_it_writes_a_checkpoint_that_has_learned_the_labels(made: Path) -> None:
    pairs = learnable_pairs()
    labelled = Labeler(str(made), precision="fp32").label(pairs)
    right = sum(
        said == gold for said, gold in zip(labelled[LABEL].to_pylist(), pairs["gold_label"].to_pylist(), strict=True)
    )
    metrics = metrics_of(made)
    assert right / len(pairs) == pytest.approx(metrics["kept"]["eval_accuracy"], abs=0.03)
    assert right / len(pairs) > 0.9
    assert load_checkpoint(str(made)).label_order == tuple(NliLabel)
    assert metrics["pairs"]["train"] == {
        "rows": 74, "used": 72, "without_gold": 1, "truncated": 0, "rejected": {"null_text": 1}
    }  # fmt: skip
    assert metrics["milestones"][-1]["step"] == STEPS
    assert (made / "training_curve.png").read_bytes().startswith(b"\x89PNG")
    assert f"{metrics['kept']['eval_accuracy']:.1%}" in (made / "README.md").read_text()
    assert not (made / "_training").exists()


def test_what_is_made_already_is_left_alone(start: Start, made: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in made.iterdir() if path.is_file()}
    assert finetuned(start.argv(made)).exit_code == 0
    assert {path.name: path.stat().st_mtime_ns for path in made.iterdir() if path.is_file()} == before


@pytest.mark.parametrize("damage", ["nested deeply", "a list", "a number", "without its figures", "other figures"])
def test_metrics_that_do_not_tell_of_a_training_are_looked_at_by_a_person(
    start: Start, made: Path, tmp_path: Path, damage: str
) -> None:
    output = shutil.copytree(made, tmp_path / "checkpoint")
    whole = metrics_of(output)
    damaged: dict[str, object] = {
        "a list": [{}],
        "a number": 10**30,
        "without its figures": {"run_id": whole["run_id"]},
        "other figures": {**whole, "kept": {"eval_accuracy": "x", "step": {}}},
    }
    text = "[" * 100_000 if damage == "nested deeply" else json.dumps(damaged[damage])
    (output / "metrics.json").write_text(text)
    outcome = finetuned(start.argv(output))
    assert (outcome.exit_code, outcome.stderr.count("\n")) == (5, 1), outcome.stderr
    assert "metrics.json" in outcome.stderr
    assert (output / "metrics.json").read_text() == text


def test_another_checkpoint_is_not_written_over(start: Start, made: Path) -> None:
    outcome = finetuned(start.argv(made, seed=1))
    assert outcome.exit_code == 6
    assert "--replace" in outcome.stderr


@pytest.mark.s3
def test_two_workers_learn_what_one_learns_from_s3_and_write_there(
    start: Start, s3_session: None, s3_bucket: S3Location
) -> None:
    folder = storage.open_folder(s3_bucket.uri, storage.S3Access(s3_bucket.endpoint))
    for path in sorted(start.folder.rglob("*")):
        if path.is_file():
            assert folder.put_if_absent(f"start/{path.relative_to(start.folder)}", path.read_bytes())
    uris = {name: f"{s3_bucket.uri}/start/{name}.parquet" for name in ("train", "eval")}
    argv = start.argv(f"{s3_bucket.uri}/made", model=f"{s3_bucket.uri}/start/model", workers=2, **UNDISTURBED, **uris)
    outcome = finetuned([*argv, "--s3-endpoint", s3_bucket.endpoint])
    assert outcome.exit_code == 0, outcome.stderr

    two = json.loads(folder.read("made/metrics.json"))
    assert two["workers"]["count"] == 2
    # They differ by rounding alone.
    one = learned_here(start.folder / "model")
    for name in ("train_loss", "eval_loss"):
        assert [each[name] for each in two["milestones"]] == pytest.approx([each[name] for each in one], rel=1e-2)
    assert two["kept"]["eval_accuracy"] == pytest.approx(max(each["eval_accuracy"] for each in one), abs=0.03)
    made = load_checkpoint(f"{s3_bucket.uri}/made", access=storage.S3Access(s3_bucket.endpoint))
    assert made.label_order == tuple(NliLabel)
    assert not folder.objects("made/_training/")


# Without dropout, which each worker draws for itself.
UNDISTURBED = {"epochs": 2, "dropout": 0}


def learned_here(model: Path, teacher: Path | None = None, **settings: Any) -> list[dict[str, float]]:
    """The milestones of two epochs of the job's steps in this process, without dropout."""
    pairs = training_pairs()
    learner = learner_of(
        starting_model(checkpoint_files(str(model)), dropout=0, seed=0).model,
        steps=18,
        teacher=None if teacher is None else teacher_model(checkpoint_files(str(teacher))),
        settings=Learning(**({"learning_rate": HOW["learning-rate"]} | settings)),
    )
    milestones = []
    for epoch in range(2):
        for step, positions in enumerate(epoch_batches(pairs.encoded.lengths, 8, seed=0, epoch=epoch), 9 * epoch):
            learner.step(step, pairs, positions)
        found = learner.evaluate(pairs)
        told = {"eval_loss": found.loss, "eval_accuracy": found.accuracy}
        milestones.append({"train_loss": learner.mean_loss(), **told})
    return milestones


def test_a_killed_driver_and_then_a_killed_worker_make_the_same_weights(
    start: Start, made: Path, tmp_path: Path
) -> None:
    output = tmp_path / "checkpoint"
    for point in ("first", "second"):
        (tmp_path / point).mkdir()
    waits = {VARIABLE: f"trained@step 000012:wait:1:{tmp_path / 'first'}"}
    with forked(main, *start.argv(output), env=in_open_session(waits)) as process:
        wait_until(lambda: len(list(output.glob("_training/*/checkpoint_*/kept.safetensors"))) > 0, process)
    assert not (output / "metrics.json").exists()

    killed = {VARIABLE: f"trained@step 000030:kill:1:{tmp_path / 'second'}"}
    outcome = run_forked(main, *start.argv(output), env=in_open_session(killed))

    assert outcome.exit_code == 0, outcome.stderr
    # Once when it was killed, once when it came by again.
    assert len(list(tmp_path.glob("second/trained.*"))) == 2
    assert (output / "model.safetensors").read_bytes() == (made / "model.safetensors").read_bytes()
    assert without_times(metrics_of(output)["milestones"]) == without_times(metrics_of(made)["milestones"])


# tests/test_signals.py has every job end so at each of the signals; this is where Ray Train has handlers of its own.
@pytest.mark.usefixtures("heeded_signals")
@pytest.mark.parametrize("number", [pytest.param(signal.SIGTERM, marks=pytest.mark.slow), signal.SIGINT])
def test_a_driver_that_is_asked_to_end_says_so(
    start: Start, session: None, tmp_path: Path, number: signal.Signals
) -> None:
    armed = {VARIABLE: f"trained@step 000002:wait:1-9:{tmp_path}"}
    with forked(main, *start.argv(tmp_path / "checkpoint"), env=in_open_session(armed)) as process:
        wait_until(lambda: len(list(tmp_path.glob("trained.*"))) > 0, process)
        process.send_signal(number)
        ended = process.outcome(60)
    assert ended.exit_code == 4, ended.stderr
    assert ended.summary["exit_code"] == 4
    assert ended.stderr.splitlines()[-1].startswith("finetune.py: ")


def test_a_student_is_taught_by_a_teacher_as_calibrated_as_it_is_and_ends_early_where_it_gets_no_better(
    start: Start, made: Path, tmp_path: Path
) -> None:
    student = save_model(tiny_student(), tmp_path / "student")
    calibrated = Path(shutil.copytree(made, tmp_path / "calibrated"))
    (calibrated / "calibration.json").write_bytes(calibration_json(3.0, {}))
    output = tmp_path / "checkpoint"
    # So small a rate that nothing is learned.
    settings = {"learning_rate": 1e-12, "gold_weight": 0.25}
    how = {"epochs": 9, "patience": 2, "save_precision": "fp16", "dropout": 0, **settings}

    outcome = finetuned(start.argv(output, model=student, teacher=calibrated, **how))

    assert outcome.exit_code == 0, outcome.stderr
    metrics = metrics_of(output)
    assert len(metrics["milestones"]) <= 5
    assert metrics["teacher_digests"]["model.safetensors"]
    loss = metrics["milestones"][0]["train_loss"]
    assert loss == pytest.approx(learned_here(student, calibrated, **settings)[0]["train_loss"], rel=1e-4)
    assert loss != pytest.approx(learned_here(student, made, **settings)[0]["train_loss"], rel=1e-3)
    assert "gold labels with weight 0.25 in the loss" in (output / "README.md").read_text()


def test_a_run_that_diverges_says_so_and_writes_no_checkpoint(start: Start, session: None, tmp_path: Path) -> None:
    outcome = finetuned(start.argv(tmp_path / "out", learning_rate=1e30))
    assert outcome.exit_code == 3
    assert "lower --learning-rate" in outcome.stderr
    assert not (tmp_path / "out" / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"train": "missing.parquet"}, "nothing is there"),
        ({"gold_column": "gold"}, "no `gold`"),
        ({"model": "missing"}, "no such folder"),
        ({"max_length": 500}, "at most 20 tokens"),
        ({"teacher": "builtin"}, "tokenizers are not the same"),
        ({"workers": 9}, "has 2 CPUs"),
        ({"gold_weight": 0.2}, "--gold-weight needs --teacher"),
        ({"classifier_rate": "inf"}, "--classifier-rate"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_what_cannot_be_is_refused_before_it_starts(
    start: Start, session: None, tmp_path: Path, changed: dict[str, object], told: str
) -> None:
    outcome = finetuned(start.argv(tmp_path / "out", **changed))
    assert outcome.exit_code == 2
    assert told in outcome.stderr
    assert not list(tmp_path.glob("out/*"))


def test_pairs_without_any_gold_label_are_refused(start: Start, session: None, tmp_path: Path) -> None:
    bare = learnable_pairs().drop_columns(["gold_label"]).append_column("gold_label", pa.array(["-"] * 72))
    pq.write_table(bare, tmp_path / "bare.parquet")
    outcome = finetuned(start.argv(tmp_path / "out", train=tmp_path / "bare.parquet"))
    assert outcome.exit_code == 2
    assert "of 72 rows, 72 have no gold label" in outcome.stderr
