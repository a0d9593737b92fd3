"""The model card of a fine-tuned checkpoint: what a reader must know, from what was measured."""

from __future__ import annotations

from collections.abc import Mapping

from albert_infer.learning.training.record import CountedPairs, Metrics
from albert_infer.preflight.intervals import wilson_interval

CARD = """---
library_name: transformers
pipeline_tag: text-classification
tags: [natural-language-inference, albert]
---

# An ALBERT for natural language inference

Fine-tuned from `{model}`{taught} by `albert-infer finetune`. It says whether a premise entails a hypothesis,
contradicts it, or leaves it open: labels `entailment`, `neutral`, `contradiction`, in this order.

| | |
|---|---|
| shape | embedding size {embedding_size}, hidden size {hidden_size}, {num_hidden_layers} layers in \
{num_hidden_groups} groups that share weights, {num_attention_heads} heads |
| right of the eval set | **{accuracy:.1%}** of {pairs:,} pairs (95 % interval, Wilson: {low:.1%} to {high:.1%}) |
| the weights kept are those | after step {step:,}, epoch {epoch:.2f}, the {keep} of {evaluations} evaluations |

{unseen} `albert-infer evaluate` measures others.
The probabilities are not calibrated; `albert-infer evaluate --fit-temperature` does that.

![training curve](training_curve.png)

## How it was made

| | pairs | used | without a gold label | rejected | cut to {max_length} tokens |
|---|---|---|---|---|---|
{counts}

{epochs} epochs, {batch_pairs} pairs a step, learning rate {learning_rate:g}{classifier} after a warm-up over \
{warmup_share:.0%} of the steps, linear decay to 0, AdamW with weight decay {weight_decay:g}, gradients cut to \
{max_gradient_norm:g}, dropout {dropout:g}, {precision}{autocast}, seed {seed}{frozen}{weighed}. Run `{run_id}`; \
`metrics.json` holds every figure, setting and version.

## Before it is given to others

State the licence of the model it started from and of the pairs it learned from, and what it is weak at: neither can be
known by the job that trained it.
"""

CHOSEN = "The kept weights were chosen by this eval set, so on other pairs expect a little less:"
NOT_CHOSEN = "Nothing was chosen by this eval set;"


def model_card(made: Metrics, config: Mapping[str, object]) -> str:
    """The card, as Markdown, of a run that made these metrics and a model of this configuration."""
    settings, kept, held = made["settings"], made["kept"], made["pairs"]["eval"]
    low, high = wilson_interval(round(kept["eval_accuracy"] * held["used"]), held["used"])
    shape = ("embedding_size", "hidden_size", "num_hidden_layers", "num_hidden_groups", "num_attention_heads")
    return CARD.format(
        **{name: config[name] for name in shape},
        **{name: value for name, value in settings.items() if name not in ("model", "precision", "max_length")},
        model=settings["model"],
        max_length=made["max_length"],
        taught=f", with `{settings['teacher']}` as its teacher," if settings["teacher"] else "",
        accuracy=kept["eval_accuracy"],
        pairs=held["used"],
        low=low,
        high=high,
        step=kept["step"],
        epoch=kept["epoch"],
        evaluations=len(made["milestones"]),
        counts="\n".join(_row(name, found) for name, found in made["pairs"].items()),
        precision=made["precision"],
        autocast=" autocast" if made["precision"] == "bf16" else "",
        unseen=CHOSEN if settings["keep"] == "best" else NOT_CHOSEN,
        frozen=", word embeddings held" if settings["freeze_embeddings"] else "",
        classifier="" if (rate := settings["classifier_rate"]) == 1 else f" (the classifier's {rate:g} times that)",
        weighed=f", gold labels weighing {settings['gold_weight']:g} beside its teacher" if settings["teacher"] else "",
        run_id=made["run_id"],
    )


def _row(name: str, found: CountedPairs) -> str:
    rejected = sum(found["rejected"].values())
    counts = (found["rows"], found["used"], found["without_gold"], rejected, found["truncated"])
    return f"| {name} | " + " | ".join(f"{count:,}" for count in counts) + " |"
