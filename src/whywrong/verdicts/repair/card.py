"""The card of repaired weights."""

from __future__ import annotations

from dataclasses import asdict

from whywrong._version import __version__
from whywrong.verdicts.repair.config import WORDS, RepairConfig
from whywrong.verdicts.repair.outcome import Outcome
from whywrong.verdicts.repair.units import ArmPart


def card(title: str, part: ArmPart, outcome: Outcome, config: RepairConfig, identity: str) -> str:
    """Describe repaired weights in Markdown.

    Args:
        title: Name of the images.
        part: The chosen arm.
        outcome: Its outcome on held-out images.
        config: Settings.
        identity: Identity of the model before.
    """
    settings = ", ".join(f"{name} {value}" for name, value in asdict(config).items() if name not in ("train", "arms"))
    gain = outcome.gain
    change = f"{100 * gain.value:+.2f} points (95 % interval {100 * gain.low:+.2f} to {100 * gain.high:+.2f})"
    return f"""# Repaired weights

Made by whywrong {__version__} from the model `{identity[:12]}`, whose own weights are unchanged.

| | |
|---|---|
| Trained on | {WORDS[part.arm].lower()}: {part.trained_errors:,} errors of {title}, beside correct images |
| Weights | moved {part.share:.0%} of the way to the trained ones, chosen on other images |
| Held-out images | {outcome.images:,}, {outcome.errors:,} of them misclassified before |
| Corrected | {outcome.fixed:,} ({outcome.fixed_share.low:.0%} to {outcome.fixed_share.high:.0%} of such errors) |
| Newly wrong | {outcome.lost:,} |
| Accuracy | {outcome.before:.2%} before, {outcome.after:.2%} after |
| Change | {change}, p = {outcome.p:.2g} |
| Settings | {settings} |

The figures hold for images like these. Check the weights on your own test set before you use them.
"""
