"""The tokens of a forward pass on a card, by the card's cache, speed and memory. Plain numbers; imports no torch.

The speeds are a model: nothing here has been measured on a card. They choose between budgets that give the same labels.
"""

from __future__ import annotations

from typing import Final

from albert_infer.engine import AlbertShape
from albert_infer.engine.cards import Capability, Card

# What fills the cards of today, and what no pass exceeds: more tokens gain nothing, and delay the first labels.
USUAL_TOKENS: Final = 32_768
MOST_TOKENS: Final = 131_072
# Fewer tokens read the weights too often.
LEAST_CACHED_TOKENS: Final = 4_096
# The launches of a pass take the host about 4 ms, so that a pass of this length hides them.
PASS_SECONDS: Final = 8e-3
# A small part of any card's memory, because the allocator keeps several passes' worth.
ACTIVATION_BYTES: Final = 1 << 30
MEMORY_PARTS: Final = 16
# TFLOP/s of 16-bit products that one multiprocessor reaches, by the least capability.
MODELLED_TFLOPS: Final[dict[Capability, float]] = {
    (0, 0): 0.1,
    (7, 0): 1.2,
    (7, 5): 0.6,
    (8, 0): 2.3,
    (8, 6): 0.75,
    (8, 9): 1.05,
    (9, 0): 4.7,
    (10, 0): 10.0,
    (12, 0): 2.0,
}


def card_batch_tokens(shape: AlbertShape, card: Card, share: float = 1.0) -> int:
    """The token budget on a `share` of a card.

    On a card with a large cache and slow memory (L4, L40S) the activations of a pass stay in the cache, if a pass is
    still long enough to hide its launches. Otherwise a pass is long: on fast cards longer for narrow shapes.
    """
    hiding = PASS_SECONDS * share * card.processors * modelled_tflops(card) * 1e12 / flop_per_token(shape)
    # Between two products: the wider of the two, its input and the residual.
    cached = share * card.l2_bytes / (2 * (shape.intermediate_size + 2 * shape.hidden_size))
    cached_tokens = _power_of_two(cached)
    if cached_tokens >= max(LEAST_CACHED_TOKENS, hiding):
        tokens = cached_tokens
    else:
        tokens = min(max(_power_of_two(hiding), USUAL_TOKENS), MOST_TOKENS)
    memory = min(ACTIVATION_BYTES, share * card.memory_bytes / MEMORY_PARTS)
    return max(1, min(tokens, int(memory / activation_bytes(shape))))


def activation_bytes(shape: AlbertShape) -> int:
    """The bytes of a token's activations in 16 bits, with those that are needed at the same time."""
    # Query, key, value, context, residual and a product or two, and two of the feed-forward's width.
    return 2 * (8 * shape.hidden_size + 2 * shape.intermediate_size)


def flop_per_token(shape: AlbertShape) -> int:
    """The operations of the products of a token."""
    hidden, intermediate = shape.hidden_size, shape.intermediate_size
    return len(shape.path) * 2 * (4 * hidden * hidden + 2 * hidden * intermediate)


def modelled_tflops(card: Card) -> float:
    """The TFLOP/s of one multiprocessor of the card, by the model above."""
    return max((least, tflops) for least, tflops in MODELLED_TFLOPS.items() if least <= card.capability)[1]


def _power_of_two(tokens: float) -> int:
    """The largest power of two that is no larger, 0 below 1."""
    return 1 << int(tokens).bit_length() - 1 if tokens >= 1 else 0
