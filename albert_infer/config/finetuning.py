"""The settings of `jobs/finetune.py`. Frozen, and valid once they exist."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Group, Parameter
from pydantic import BaseModel, ConfigDict, Field, model_validator

from albert_infer import schema
from albert_infer.config.settings import DATA, LIMITS, MODEL, SPEED, Debug, LogFormatSetting, S3Endpoint
from albert_infer.config.values import LabelOrder, Location, OutputFolder

LEARNING = Group("Learning", sort_key=3)


@Parameter(name="*", negative="", show_env_var=False)
class FinetuneSettings(BaseModel):
    """What to learn from, what to start from, where to, and how."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    train: Annotated[
        Location, Parameter(group=DATA, help="Labelled Parquet pairs to learn from: a folder or one file.")
    ]
    eval: Annotated[
        Location,
        Parameter(group=DATA, help="Labelled pairs to watch: the weights that get most of them right are kept."),
    ]
    output: Annotated[
        OutputFolder, Parameter(group=DATA, help="Folder for the checkpoint; a run that was killed goes on from there.")
    ]
    gold_column: Annotated[
        str, Parameter(group=DATA, help="The column of gold labels: names or 0, 1, 2; rows with - or -1 are skipped.")
    ] = "gold_label"
    premise_column: Annotated[
        str, Parameter(group=DATA, help="The premise's column, if the pairs call it otherwise.")
    ] = schema.PREMISE
    hypothesis_column: Annotated[
        str, Parameter(group=DATA, help="The hypothesis's column, if the pairs call it otherwise.")
    ] = schema.HYPOTHESIS
    s3_endpoint: S3Endpoint = None

    model: Annotated[
        str,
        Parameter(
            group=MODEL,
            help="What to start from, as for labelling; or a pretrained ALBERT, which gets a new classifier.",
        ),
    ] = "builtin"
    teacher: Annotated[
        str | None,
        Parameter(
            group=MODEL, help="An NLI checkpoint with the same tokenizer to learn from too: it makes small models good."
        ),
    ] = None
    gold_weight: Annotated[
        float,
        Field(ge=0, le=1),
        Parameter(
            group=LEARNING, help="Weight of gold labels, 0 to 1, beside a --teacher's answers, which have the rest."
        ),
    ] = 0.5
    label_order: Annotated[
        LabelOrder,
        Parameter(
            group=MODEL, help="The labels of outputs 0, 1, 2 of --model, if it calls them LABEL_0, LABEL_1, LABEL_2."
        ),
    ] = ()
    max_length: Annotated[
        int | None,
        Field(ge=5),
        Parameter(
            group=MODEL, help="Tokens a pair may have in training, 128 if the model reads them; premises are cut."
        ),
    ] = None
    save_precision: Annotated[
        Literal["fp32", "fp16"], Parameter(group=MODEL, help="What the weights are stored in; fp16 halves the file.")
    ] = "fp32"

    epochs: Annotated[int, Field(ge=1), Parameter(group=LEARNING, help="Times every pair is seen.")] = 3
    batch_pairs: Annotated[
        int, Field(ge=1), Parameter(group=LEARNING, help="Pairs a step, over all workers together.")
    ] = 32
    learning_rate: Annotated[
        float, Field(gt=0), Parameter(group=LEARNING, help="At the end of warm-up; it falls to 0 from there.")
    ] = 3e-5
    classifier_rate: Annotated[
        float,
        Field(gt=0),
        Parameter(group=LEARNING, help="Times as fast as the rest the classifier learns: 10 suits a new one."),
    ] = 1.0
    warmup_share: Annotated[
        float, Field(ge=0, lt=1), Parameter(group=LEARNING, help="Share of the steps in which the rate rises from 0.")
    ] = 0.06
    weight_decay: Annotated[float, Field(ge=0), Parameter(group=LEARNING, help="AdamW's, of weight matrices.")] = 0.01
    # 1.0, as BERT was fine-tuned: it tames the first steps.
    max_gradient_norm: Annotated[float, Field(gt=0), Parameter(group=LEARNING, help="Gradients are cut to it.")] = 1.0
    dropout: Annotated[
        float, Field(ge=0, lt=1), Parameter(group=LEARNING, help="Of hidden states; 0 suits a model with a --teacher.")
    ] = 0.1
    freeze_embeddings: Annotated[
        bool,
        Parameter(
            group=LEARNING, help="Hold word embeddings: words that few pairs lack keep their place beside the others."
        ),
    ] = False
    evaluations_per_epoch: Annotated[
        int, Field(ge=1), Parameter(group=LEARNING, help="How often to evaluate and to save what a killed run needs.")
    ] = 4
    patience: Annotated[
        int,
        Field(ge=1),
        Parameter(group=LEARNING, help="Evaluations without a better one after which training ends early."),
    ] = 8
    keep: Annotated[
        Literal["best", "last"],
        Parameter(
            group=LEARNING,
            help="Weights that become the checkpoint: the best on --eval, or the last, which it has not chosen.",
        ),
    ] = "best"
    seed: Annotated[int, Field(ge=0), Parameter(group=LEARNING, help="Decides batches, dropout, new weights.")] = 0

    workers: Annotated[
        int | None,
        Field(ge=1),
        Parameter(group=SPEED, help="Training workers: by default one a GPU, or one on a machine without."),
    ] = None
    precision: Annotated[
        Literal["auto", "fp32", "bf16"],
        Parameter(group=SPEED, help="`auto` is bf16 autocast where the device computes in it, else fp32."),
    ] = "auto"

    replace: Annotated[
        bool, Parameter(group=LIMITS, help="Write over another checkpoint that stands at the output.")
    ] = False
    log_format: LogFormatSetting = "text"
    debug: Debug = False

    @model_validator(mode="after")
    def _weighed_against_a_teacher(self) -> FinetuneSettings:
        if "gold_weight" in self.model_fields_set and self.teacher is None:
            raise ValueError("--gold-weight needs --teacher")
        return self
