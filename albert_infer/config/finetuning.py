"""The settings of `albert-infer finetune` and `jobs/finetune.py`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from cyclopts import Parameter
from pydantic import Field, field_validator, model_validator

from albert_infer.config.groups import DATA, LEARNING, MODEL, Mark
from albert_infer.config.shared import (
    AllowCpu,
    CheckpointChoice,
    Computing,
    GoldLabels,
    Job,
    MaxLength,
    ModelName,
    Output,
    PrecisionChoice,
    Replace,
    S3Server,
    SettingsPart,
    TextColumns,
    Workers,
)
from albert_infer.config.values import Count, Location, Share


class TrainingLocations(SettingsPart):
    """Which pairs to learn from, and where to write the checkpoint."""

    train: Annotated[
        Location, Parameter(group=DATA, help="Labelled Parquet pairs to learn from: a folder or one file.")
    ]
    eval: Annotated[
        Location,
        Parameter(
            group=DATA, help="Labelled pairs for evaluation: the weights with the best accuracy on them are kept."
        ),
    ]
    output: Annotated[Output, Parameter(help="Folder for the checkpoint; a killed run resumes from there.")]
    replace: Annotated[Replace, Parameter(help="Replace another checkpoint at the output.")] = False


class Training(SettingsPart):
    """How the weights are trained. Only `--help-all` shows the settings that few people change."""

    epochs: Annotated[Count, Parameter(group=LEARNING, help="Passes over the training pairs.")] = 3
    batch_pairs: Annotated[Count, Parameter(group=LEARNING, help="Pairs per step, in all workers together.")] = 32
    learning_rate: Annotated[
        float, Field(gt=0), Parameter(group=LEARNING, help="Learning rate at the end of warm-up; it then falls to 0.")
    ] = 3e-5
    gold_weight: Annotated[
        Share,
        Parameter(
            group=LEARNING, help="Weight of gold labels in the loss, 0 to 1; the answers of --teacher have the rest."
        ),
        Mark.RARE,
    ] = 0.5
    classifier_rate: Annotated[
        float,
        Field(gt=0),
        Parameter(group=LEARNING, help="Factor on the learning rate of the classifier: 10 suits a new one."),
        Mark.RARE,
    ] = 1.0
    warmup_share: Annotated[
        float,
        Field(ge=0, lt=1),
        Parameter(group=LEARNING, help="Share of the steps in which the learning rate rises from 0."),
        Mark.RARE,
    ] = 0.06
    weight_decay: Annotated[
        float, Field(ge=0), Parameter(group=LEARNING, help="Weight decay of AdamW, for weight matrices."), Mark.RARE
    ] = 0.01
    # 1.0 is the value of BERT's fine-tuning. It limits the first steps.
    max_gradient_norm: Annotated[
        float, Field(gt=0), Parameter(group=LEARNING, help="Gradients are clipped to this norm."), Mark.RARE
    ] = 1.0
    dropout: Annotated[
        float,
        Field(ge=0, lt=1),
        Parameter(group=LEARNING, help="Dropout of hidden states; 0 suits a model with a --teacher."),
        Mark.RARE,
    ] = 0.1
    freeze_embeddings: Annotated[
        bool,
        Parameter(
            group=LEARNING,
            help="Do not train word embeddings: words outside the training pairs keep their relation to the others.",
        ),
        Mark.RARE,
    ] = False
    evaluations_per_epoch: Annotated[
        Count,
        Parameter(
            group=LEARNING, help="Evaluations per epoch; each also saves the state that a killed run resumes from."
        ),
        Mark.RARE,
    ] = 4
    patience: Annotated[
        Count,
        Parameter(group=LEARNING, help="Training ends early after this number of evaluations without improvement."),
        Mark.RARE,
    ] = 8
    keep: Annotated[
        Literal["best", "last"],
        Parameter(
            group=LEARNING,
            help="Weights that become the checkpoint: the `best` on --eval, or the `last`.",
        ),
        Mark.RARE,
    ] = "best"
    seed: Annotated[
        int, Field(ge=0), Parameter(group=LEARNING, help="Random seed of batches, dropout and new weights."), Mark.RARE
    ] = 0


class FinetuneSettings(
    Job, Training, Computing, CheckpointChoice, S3Server, TextColumns, GoldLabels, TrainingLocations
):
    """The pairs, the first weights, the output, and how the weights are trained."""

    after_interrupt: ClassVar[str] = "run the same command again: it resumes from the last evaluation"

    model: Annotated[
        ModelName,
        Parameter(help="Checkpoint to start from, as for labelling; a pretrained ALBERT gets a new classifier."),
    ] = "builtin"
    teacher: Annotated[
        str | None,
        Parameter(
            group=MODEL,
            help="An NLI checkpoint with the same tokenizer; the model also learns its answers (distillation).",
        ),
    ] = None
    max_length: Annotated[
        MaxLength,
        Parameter(
            help="Maximum tokens per pair in training; longer premises are cut. Default: 128, or the model's limit."
        ),
    ] = None
    precision: Annotated[
        PrecisionChoice,
        Parameter(
            show_choices=False,
            help="fp32, bf16, or `auto`: bf16 autocast where the device supports it, else fp32.",
        ),
    ] = "auto"
    save_precision: Annotated[
        Literal["fp32", "fp16"], Parameter(group=MODEL, help="Precision of the stored weights; fp16 halves the file.")
    ] = "fp32"
    allow_cpu: Annotated[
        AllowCpu,
        Parameter(
            help="Train on CPUs if torch cannot use the GPUs of the cluster, instead of ending with exit code 4."
        ),
    ] = False
    workers: Annotated[Workers, Parameter(help="Training workers, N; default: one per GPU, or one without GPUs.")] = (
        None
    )

    @field_validator("precision")
    @classmethod
    def _trains_in_floats(cls, value: str) -> str:
        if value in ("int8", "fp16", "fp8"):
            raise ValueError(f"{value} is for labelling; give auto, fp32 or bf16")
        return value

    @field_validator("workers")
    @classmethod
    def _workers_are_one_number(cls, value: str | None) -> str | None:
        if value is not None and ":" in value:
            raise ValueError("the number of training workers does not change during a run; give N")
        return value

    @model_validator(mode="after")
    def _weighed_against_a_teacher(self) -> Self:
        if "gold_weight" in self.model_fields_set and self.teacher is None:
            raise ValueError("--gold-weight needs --teacher")
        return self

    @property
    def worker_count(self) -> int | None:
        """The number of workers in the settings; None to follow the cluster."""
        return None if self.workers is None else int(self.workers)
