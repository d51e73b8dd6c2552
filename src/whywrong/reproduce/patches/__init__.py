"""Claims of patch robustness and affine robustness, about convolutional networks and transformers."""

from __future__ import annotations

from whywrong.core.registry import Claim

TITLES = {
    "patches.P1": ("natural_patches", 2, "a corrupted patch fools a transformer less than a convnet"),
    "patches.P2": ("adversarial_patches", 2, "an adversarial patch fools a transformer more than a convnet"),
    "patches.P3": ("attention_is_drawn", 1, "an adversarial patch draws attention, and a corrupted one does not"),
    "patches.P4": ("smoothing_helps", 1, "smoothed attention resists adversarial patches at a small loss of accuracy"),
    "patches.A1": ("affine_order", 2, "a convnet resists affine transforms more than a transformer"),
}  # fmt: skip

CLAIMS: tuple[Claim, ...] = tuple(
    Claim(
        name=name,
        title=title,
        function=f"whywrong.reproduce.patches.claims:{function}",
        config="whywrong.reproduce.patches.measuring:PatchClaimConfig",
        models=models,
        takes=frozenset({"progress", "cache"}),
    )
    for name, (function, models, title) in TITLES.items()
)
