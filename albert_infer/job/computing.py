"""The precision and the token budget of a run, from its settings and from the card that a worker has, and its plan.

Both are known before the plan: the precision is a part of the units' names, and the plan records the budget.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from albert_infer.classify.classification import default_batch_tokens
from albert_infer.config import LabelSettings
from albert_infer.engine.cards import Card, unusable
from albert_infer.engine.processor import cpu_flags, possible_precisions, refuse_mixed_cards, resolved_precision
from albert_infer.engine.shape import AlbertShape
from albert_infer.output import manifest
from albert_infer.pipeline.resources import Node, WorkerResources
from albert_infer.read.planning import Plan
from albert_infer.schema import DeviceKind, Precision
from albert_infer.storage import Folder


@dataclass(frozen=True)
class Computing:
    """What a run computes in: its precision, its token budget, and the card of a worker, None where none was asked."""

    precision: Precision
    max_batch_tokens: int
    card: Card | None = None


# Makes the plan of a run that computes so.
PlanOf = Callable[[Computing], Plan]


@dataclass(frozen=True)
class Deciding:
    """What decides how a run computes. `ask_card` asks a worker of the GPU pool, once there is one."""

    settings: LabelSettings
    shape: AlbertShape
    workers: WorkerResources
    nodes: Sequence[Node]
    ask_card: Callable[[], Card]

    def planned(self, output: Folder, plan_of: PlanOf) -> tuple[Computing, Plan]:
        """How the run computes, and its plan.

        A run that is published asks for no GPU: its plan tells the precision. Raises SettingsError for a precision that
        the cards do not compute in, DeviceError for a GPU that cannot be used, InfrastructureError if none comes.
        """
        if self.workers.device is DeviceKind.CPU:
            computing = self._on_cpus()
            return computing, plan_of(computing)
        # Before a GPU is waited for.
        resolved_precision(self.settings.precision, DeviceKind.CUDA, cpu_flags())
        refuse_mixed_cards(self.settings.precision, {kind for node in self.nodes for kind in node.card_kinds})
        published = self._published(output, plan_of)
        if published is not None:
            return published
        computing = self._on_card(self.ask_card())
        return computing, plan_of(computing)

    def _on_cpus(self) -> Computing:
        precision = resolved_precision(self.settings.precision, DeviceKind.CPU, cpu_flags())
        return Computing(precision, self._budget(DeviceKind.CPU))

    def _on_card(self, card: Card) -> Computing:
        if not card.obstacle:
            precision = resolved_precision(self.settings.precision, DeviceKind.CUDA, cpu_flags(), card)
            return Computing(precision, self._budget(DeviceKind.CUDA, card), card)
        if not self.settings.allow_cpu:
            raise unusable(card)
        return self._on_cpus()

    def _budget(self, device: DeviceKind, card: Card | None = None) -> int:
        share = self.workers.num_gpus
        return self.settings.max_batch_tokens or default_batch_tokens(device, self.shape, card, share)

    def _published(self, output: Folder, plan_of: PlanOf) -> tuple[Computing, Plan] | None:
        """The plan that is published at the output, if it is this run's in a precision that its GPUs may have."""
        published = manifest.published_at(output)
        if published is None:
            return None
        for precision in possible_precisions(self.settings.precision):
            computing = Computing(precision, self._budget(DeviceKind.CUDA))
            plan = plan_of(computing)
            if plan.plan_id == published.plan_id:
                return computing, plan
        return None
