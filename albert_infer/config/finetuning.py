"""The settings of `albert-infer finetune` and `jobs/finetune.py`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from cyclopts import Parameter
from pydantic import BaseModel, Field, field_validator, model_validator

from albert_infer.config.groups import DATA, LEARNING, MODEL, Mark
from albert_infer.config.shared import (
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
    TextColumns,
    Workers,
)
from albert_infer.config.values import Count, Location, Share


class TrainingPlaces(BaseModel):
    """What is learned from, and where the checkpoint goes."""

    train: Annotated[
        Location, Parameter(group=DATA, help="Labelled Parquet pairs to learn from: a folder or one file.")
    ]
    eval: Annotated[
        Location,
        Parameter(group=DATA, help="Labelled pairs to watch: the weights that get most of them right are kept."),
    ]
    output: Annotated[Output, Parameter(help="Folder for the checkpoint; a run that was killed goes on from there.")]
    replace: Annotated[Replace, Parameter(help="Write over another checkpoint that stands at the output.")] = False


class LearningRates(BaseModel):
    """How fast what is learned. What few people change has a recipe's value, and is shown by `--help-all`."""

    epochs: Annotated[Count, Parameter(group=LEARNING, help="Times every pair is seen.")] = 3
    batch_pairs: Annotated[Count, Parameter(group=LEARNING, help="Pairs a step, over all workers together.")] = 32
    learning_rate: Annotated[
        float, Field(gt=0), Parameter(group=LEARNING, help="At the end of warm-up; it falls to 0 from there.")
    ] = 3e-5
    gold_weight: Annotated[
        Share,
        Parameter(
            group=LEARNING, help="Weight of gold labels, 0 to 1, beside a --teacher's answers, which have the rest."
        ),
        Mark.RARE,
    ] = 0.5
    classifier_rate: Annotated[
        float,
        Field(gt=0),
        Parameter(group=LEARNING, help="Times as fast as the rest the classifier learns: 10 suits a new one."),
        Mark.RARE,
    ] = 1.0
    warmup_share: Annotated[
        float,
        Field(ge=0, lt=1),
        Parameter(group=LEARNING, help="Share of the steps in which the rate rises from 0."),
        Mark.RARE,
    ] = 0.06
    weight_decay: Annotated[
        float, Field(ge=0), Parameter(group=LEARNING, help="AdamW's, of weight matrices."), Mark.RARE
    ] = 0.01
    # 1.0, as BERT was fine-tuned: it tames the first steps.
    max_gradient_norm: Annotated[
        float, Field(gt=0), Parameter(group=LEARNING, help="Gradients are cut to it."), Mark.RARE
    ] = 1.0
    dropout: Annotated[
        float,
        Field(ge=0, lt=1),
        Parameter(group=LEARNING, help="Of hidden states; 0 suits a model with a --teacher."),
        Mark.RARE,
    ] = 0.1
    freeze_embeddings: Annotated[
        bool,
        Parameter(
            group=LEARNING, help="Hold word embeddings: words that few pairs lack keep their place beside the others."
        ),
        Mark.RARE,
    ] = False
    evaluations_per_epoch: Annotated[
        Count,
        Parameter(group=LEARNING, help="How often to evaluate and to save what a killed run needs."),
        Mark.RARE,
    ] = 4
    patience: Annotated[
        Count,
        Parameter(group=LEARNING, help="Evaluations without a better one after which training ends early."),
        Mark.RARE,
    ] = 8
    keep: Annotated[
        Literal["best", "last"],
        Parameter(
            group=LEARNING,
            help="Weights that become the checkpoint: the best on --eval, or the last, which it has not chosen.",
        ),
        Mark.RARE,
    ] = "best"
    seed: Annotated[
        int, Field(ge=0), Parameter(group=LEARNING, help="Decides batches, dropout, new weights."), Mark.RARE
    ] = 0


class FinetuneSettings(
    Job, LearningRates, Computing, CheckpointChoice, S3Server, TextColumns, GoldLabels, TrainingPlaces
):
    """What to learn from, what to start from, where to, and how."""

    after_interrupt: ClassVar[str] = "run the same command again: it goes on from the last evaluation"

    model: Annotated[
        ModelName,
        Parameter(help="What to start from, as for labelling; or a pretrained ALBERT, which gets a new classifier."),
    ] = "builtin"
    teacher: Annotated[
        str | None,
        Parameter(
            group=MODEL, help="An NLI checkpoint with the same tokenizer to learn from too: it makes small models good."
        ),
    ] = None
    max_length: Annotated[
        MaxLength,
        Parameter(help="Tokens a pair may have in training, 128 if the model reads them; premises are cut."),
    ] = None
    precision: Annotated[
        PrecisionChoice,
        Parameter(
            show_choices=False,
            help="fp32, bf16, or `auto`: bf16 autocast where the device computes in it, else fp32.",
        ),
    ] = "auto"
    save_precision: Annotated[
        Literal["fp32", "fp16"], Parameter(group=MODEL, help="What the weights are stored in; fp16 halves the file.")
    ] = "fp32"
    workers: Annotated[
        Workers, Parameter(help="Training workers, N: by default one a GPU, or one on a machine without.")
    ] = None

    @field_validator("precision")
    @classmethod
    def _trains_in_floats(cls, value: str) -> str:
        if value == "int8":
            raise ValueError("int8 is for labelling; give auto, fp32 or bf16")
        return value

    @field_validator("workers")
    @classmethod
    def _workers_are_one_number(cls, value: str | None) -> str | None:
        if value is not None and ":" in value:
            raise ValueError("training has as many workers from its start to its end; give N")
        return value

    @model_validator(mode="after")
    def _weighed_against_a_teacher(self) -> Self:
        if "gold_weight" in self.model_fields_set and self.teacher is None:
            raise ValueError("--gold-weight needs --teacher")
        return self

    @property
    def worker_count(self) -> int | None:
        """The number of workers that was asked for; None to follow the cluster."""
        return None if self.workers is None else int(self.workers)
