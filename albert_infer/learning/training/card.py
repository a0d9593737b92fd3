"""Writes the model card of a fine-tuned checkpoint from its metrics."""

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
| accuracy on the eval set | **{accuracy:.1%}** of {pairs:,} pairs (95 % interval, Wilson: {low:.1%} to {high:.1%}) |
| weights | after step {step:,}, epoch {epoch:.2f}, the {keep} of {evaluations} evaluations |

{unseen} `albert-infer evaluate` measures other pairs.
The probabilities are not calibrated; `albert-infer evaluate --fit-temperature` calibrates them.

![training curve](training_curve.png)

## How it was made

| | pairs | used | without a gold label | rejected | cut to {max_length} tokens |
|---|---|---|---|---|---|
{counts}

{epochs} epochs, {batch_pairs} pairs per step, learning rate {learning_rate:g}{classifier} after a warm-up over \
{warmup_share:.0%} of the steps, linear decay to 0, AdamW with weight decay {weight_decay:g}, gradients clipped to \
{max_gradient_norm:g}, dropout {dropout:g}, {precision}{autocast}, seed {seed}{frozen}{weighed}. Run `{run_id}`; \
`metrics.json` has every figure, setting and version.

## Before you publish it

State the licences of the first model and of the training pairs, and the weaknesses of the checkpoint. The training job
does not know them.
"""

CHOSEN = "This eval set chose the weights, so the accuracy on other pairs is a little lower."
NOT_CHOSEN = "This eval set did not choose the weights."


def model_card(metrics: Metrics, config: Mapping[str, object]) -> str:
    """The card, as Markdown, of a run with these metrics and a model with this config.json."""
    settings, kept, eval_pairs = metrics["settings"], metrics["kept"], metrics["pairs"]["eval"]
    low, high = wilson_interval(round(kept["eval_accuracy"] * eval_pairs["used"]), eval_pairs["used"])
    shape = ("embedding_size", "hidden_size", "num_hidden_layers", "num_hidden_groups", "num_attention_heads")
    return CARD.format(
        **{name: config[name] for name in shape},
        **{name: value for name, value in settings.items() if name not in ("model", "precision", "max_length")},
        model=settings["model"],
        max_length=metrics["max_length"],
        taught=f", with `{settings['teacher']}` as its teacher," if settings["teacher"] else "",
        accuracy=kept["eval_accuracy"],
        pairs=eval_pairs["used"],
        low=low,
        high=high,
        step=kept["step"],
        epoch=kept["epoch"],
        evaluations=len(metrics["milestones"]),
        counts="\n".join(_row(name, pairs) for name, pairs in metrics["pairs"].items()),
        precision=metrics["precision"],
        autocast=" autocast" if metrics["precision"] == "bf16" else "",
        unseen=CHOSEN if settings["keep"] == "best" else NOT_CHOSEN,
        frozen=", word embeddings not trained" if settings["freeze_embeddings"] else "",
        classifier="" if (rate := settings["classifier_rate"]) == 1 else f" (the classifier's {rate:g} times that)",
        weighed=f", gold labels with weight {settings['gold_weight']:g} in the loss" if settings["teacher"] else "",
        run_id=metrics["run_id"],
    )


def _row(name: str, pairs: CountedPairs) -> str:
    rejected = sum(pairs["rejected"].values())
    counts = (pairs["rows"], pairs["used"], pairs["without_gold"], rejected, pairs["truncated"])
    return f"| {name} | " + " | ".join(f"{count:,}" for count in counts) + " |"
