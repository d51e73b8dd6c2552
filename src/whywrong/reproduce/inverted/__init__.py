"""Claims of inverted attacks, about white-box fixes of errors, their size and their direction."""

from __future__ import annotations

from whywrong.core.registry import Claim

CLAIMS: tuple[Claim, ...] = (
    Claim(
        name="inverted.1",
        title="white-box fixes exist for practically every error and need about one iteration",
        function="whywrong.reproduce.inverted.claims:fixes_exist",
        config="whywrong.reproduce.inverted.claims:InvertedClaimConfig",
    ),
    Claim(
        name="inverted.3",
        title="the changes needed are small",
        function="whywrong.reproduce.inverted.claims:fixes_are_small",
        config="whywrong.reproduce.inverted.claims:InvertedClaimConfig",
    ),
    Claim(
        name="inverted.6",
        title="the true label is a privileged direction",
        function="whywrong.reproduce.inverted.claims:true_label_is_near",
        config="whywrong.reproduce.inverted.claims:InvertedClaimConfig",
    ),
)
