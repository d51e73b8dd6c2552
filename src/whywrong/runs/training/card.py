"""The model card of a trained network, as a page of Markdown."""

from __future__ import annotations

from whywrong.core.statistics import wilson
from whywrong.models.architectures.files import NetworkCard


def card_text(card: NetworkCard, weights: int) -> str:
    """Write the model card of a network.

    Args:
        card: How it was trained.
        weights: Number of its weights.
    """
    plan = card.plan
    channels, height, width = plan.shape
    lines = [
        f"# {plan.family}",
        "",
        f"A network of the family `{plan.family}` with {weights:,} weights, trained by `whywrong train`.",
        "",
        f"- Input: {height} x {width} pixels, {'grey' if channels == 1 else 'RGB'}, values in [0, 1].",
        f"- Classes: {len(card.classes):,}.",
        f"- Training images: {card.images:,}; epochs: {len(card.losses)}; loss of the last: {card.losses[-1]:.4f}.",
        f"- Accuracy: {_accuracy(card)}.",
        "",
        "Held-out images come from the same data. The accuracy says nothing about other data.",
        "",
        "| setting | value |",
        "|---|---|",
    ]
    settings = {name: getattr(plan, name) for name in plan.__dataclass_fields__ if name not in ("family", "classes")}
    lines += [f"| {name} | {value} |" for name, value in {**settings, **card.training}.items()]
    return "\n".join(lines) + "\n"


def _accuracy(card: NetworkCard) -> str:
    if card.accuracy is None:
        return "not measured, since no images were held out"
    found = wilson(round(card.accuracy * card.held_out), card.held_out)
    low, high = 100 * found.low, 100 * found.high
    return f"{100 * found.value:.1f} % of {card.held_out:,} held-out images (95 % interval {low:.1f} to {high:.1f} %)"
