"""Claims of promotion and suppression, about changes that turn a prediction and about natural errors."""

from __future__ import annotations

from whywrong.core.registry import Claim

TITLES = {
    "C1": ("all_types_occur", "a targeted change suppresses, promotes and does both, in different cells"),
    "C2": ("strong_cells_undo", "removing the strongest cells of a change undoes it more often than random ones"),
    "C3": ("strong_cells_suffice", "the strongest half of the cells of a targeted change is enough"),
    "C4": ("change_lies_in_the_map", "a targeted change lies in the map of its class more than in other images' maps"),
    "C5": ("effects_follow_maps", "suppression and promotion each follow the map of their own class"),
    "C9": ("errors_show_all_types", "natural errors compared with their smallest fix show all types of cells"),
}  # fmt: skip

CLAIMS: tuple[Claim, ...] = tuple(
    Claim(
        name=f"suppression.{number}",
        title=title,
        function=f"whywrong.reproduce.suppression.claims:{function}",
        config="whywrong.reproduce.suppression.measuring:SuppressionClaimConfig",
        takes=frozenset({"progress", "cache"}),
    )
    for number, (function, title) in TITLES.items()
)
