"""Claims C1 to C8 about multi-order interactions and patch groups, and their comparison of groups."""

from __future__ import annotations

from whywrong.core.registry import Claim

CLAIMS: tuple[Claim, ...] = (
    Claim(
        name="interactions.C1",
        title="attacked images are misread with stronger interactions of high orders than their sources",
        function="whywrong.reproduce.interactions.group_claims:attacks_raise_high_orders",
        config="whywrong.reproduce.interactions.config:InteractionsClaimConfig",
        draw="whywrong.reproduce.interactions.figures:draw_band",
        takes=frozenset({"progress", "cache"}),
    ),
    Claim(
        name="interactions.C2",
        title="corrupted images are misread with weaker interactions of low orders than their sources",
        function="whywrong.reproduce.interactions.group_claims:corruption_lowers_low_orders",
        config="whywrong.reproduce.interactions.config:InteractionsClaimConfig",
        draw="whywrong.reproduce.interactions.figures:draw_band",
        takes=frozenset({"progress", "cache"}),
    ),
    Claim(
        name="interactions.C3",
        title="the profile of interactions differs between kinds of misclassification",
        function="whywrong.reproduce.interactions.group_claims:kinds_of_error_differ",
        config="whywrong.reproduce.interactions.config:InteractionsClaimConfig",
        draw="whywrong.reproduce.interactions.figures:draw_profiles",
        takes=frozenset({"progress", "cache"}),
    ),
    Claim(
        name="interactions.C4",
        title="the profile of a vision transformer differs from that of a convolutional net",
        function="whywrong.reproduce.interactions.two_models:transformer_differs",
        config="whywrong.reproduce.interactions.config:InteractionsClaimConfig",
        models=2,
        draw="whywrong.reproduce.interactions.figures:draw_models",
        takes=frozenset({"progress", "cache"}),
    ),
    Claim(
        name="interactions.C5",
        title="the sign of interactions tells groups of images apart",
        function="whywrong.reproduce.interactions.group_claims:signs_differ",
        config="whywrong.reproduce.interactions.config:InteractionsClaimConfig",
        draw="whywrong.reproduce.interactions.figures:draw_profiles",
        takes=frozenset({"progress", "cache"}),
    ),
    Claim(
        name="interactions.C6",
        title="interactions are relatively strong at the lowest and highest orders and weak between",
        function="whywrong.reproduce.interactions.group_claims:both_ends_are_high",
        config="whywrong.reproduce.interactions.config:InteractionsClaimConfig",
        draw="whywrong.reproduce.interactions.figures:draw_profiles",
        takes=frozenset({"progress", "cache"}),
    ),
    Claim(
        name="interactions.C7",
        title="an attack acts mostly on interactions of high orders",
        function="whywrong.reproduce.interactions.attribution:attacks_act_on_high_orders",
        config="whywrong.reproduce.interactions.config:InteractionsClaimConfig",
        draw="whywrong.reproduce.interactions.figures:draw_parts",
        takes=frozenset({"progress", "cache"}),
    ),
    Claim(
        name="interactions.C8",
        title="patches chosen together show and break a decision better than patches ranked one by one",
        function="whywrong.reproduce.interactions.rankings:groups_beat_rankings",
        config="whywrong.reproduce.interactions.config:PatchClaimConfig",
        draw="whywrong.reproduce.interactions.figures:draw_curves",
        takes=frozenset({"progress", "cache"}),
    ),
)
