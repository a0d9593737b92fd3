"""Draws the training curve."""

from __future__ import annotations

import io
from collections.abc import Sequence

# The object-oriented interface: it needs no window system, and no global state.
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from albert_infer.learning.training.record import Milestone

TRAIN_COLOUR, EVAL_COLOUR = "#6b7280", "#1d4ed8"


def curve_png(milestones: Sequence[Milestone], kept: int) -> bytes:
    """Loss and accuracy over the epochs as PNG, with a mark at the milestone `kept`."""
    figure = Figure(figsize=(8, 3.2), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    losses, accuracies = figure.subplots(1, 2)
    epochs = [each["epoch"] for each in milestones]
    losses.plot(epochs, [each["train_loss"] for each in milestones], color=TRAIN_COLOUR, label="training pairs")
    losses.plot(epochs, [each["eval_loss"] for each in milestones], color=EVAL_COLOUR, label="eval pairs")
    losses.set(title="Loss", xlabel="epoch")
    losses.set_ylim(bottom=0)
    losses.legend(frameon=False)
    percents = [100 * each["eval_accuracy"] for each in milestones]
    accuracies.plot(epochs, percents, color=EVAL_COLOUR, marker="o", markersize=3)
    accuracies.plot(epochs[kept], percents[kept], "o", color=EVAL_COLOUR, markersize=8)
    accuracies.annotate(
        f"kept: {percents[kept]:.1f} %", (epochs[kept], percents[kept]), xytext=(0, -16), textcoords="offset points",
        ha="right",
    )  # fmt: skip
    accuracies.set(title="Accuracy on the eval pairs, %", xlabel="epoch")
    for axes in (losses, accuracies):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()
