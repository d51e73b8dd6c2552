"""Claims of inverted attacks, about fixes of errors: how many, how small, where, and what they are good for."""

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
        name="inverted.2",
        title="with a surrogate, most errors of a black box are fixed too, though fewer than with gradients",
        function="whywrong.reproduce.inverted.black_boxes:surrogate_suffices",
        config="whywrong.reproduce.inverted.black_boxes:BlackBoxClaimConfig",
    ),
    Claim(
        name="inverted.3",
        title="the changes needed are small",
        function="whywrong.reproduce.inverted.claims:fixes_are_small",
        config="whywrong.reproduce.inverted.claims:InvertedClaimConfig",
    ),
    Claim(
        name="inverted.4",
        title="the regions that carry most of a fix suffice more often than other regions of equal area",
        function="whywrong.reproduce.inverted.region_curves:regions_carry_the_fix",
        config="whywrong.reproduce.inverted.region_curves:RegionClaimConfig",
        draw="whywrong.reproduce.inverted.region_figure:draw_regions",
    ),
    Claim(
        name="inverted.5",
        title="training with the fixes corrects errors that training without them does not",
        function="whywrong.reproduce.inverted.repair:fixes_help",
        config="whywrong.reproduce.inverted.repair:RepairClaimConfig",
    ),
    Claim(
        name="inverted.6",
        title="the true label is a privileged direction",
        function="whywrong.reproduce.inverted.claims:true_label_is_near",
        config="whywrong.reproduce.inverted.claims:InvertedClaimConfig",
    ),
)
