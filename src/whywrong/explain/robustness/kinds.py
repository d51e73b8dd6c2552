"""Registry of the rows of a comparison of robustness; one line adds a row."""

from __future__ import annotations

from dataclasses import dataclass

from whywrong.core.access import Access


@dataclass(frozen=True, slots=True, kw_only=True)
class RowKind:
    """A row of the table, measured for each model on the same images.

    Attributes:
        name: Name of the row.
        title: What is done to the images, in a few words.
        group: ``clean``, ``affine``, ``corruption``, ``attack`` or ``patch``.
        access: The least access it needs.
        function: ``module:attribute`` of ``row(call: RowCall) -> tuple[Part, ...]``.
        settings: Settings that its results depend on.
        control: Row of random noise of equal size that it is compared with; empty for none.
    """

    name: str
    title: str
    group: str
    access: Access
    function: str
    settings: tuple[str, ...] = ()
    control: str = ""


_IMAGES, _ATTACKS, _PATCHES = (f"whywrong.explain.robustness.{name}" for name in ("images", "attacks", "patches"))
_PLACE = ("patch", "positions")
_CRAFT = (*_PLACE, "patch_steps")

ROWS: tuple[RowKind, ...] = (
    RowKind(name="clean", title="unchanged images", group="clean", access=Access.LABELS, function=f"{_IMAGES}:clean"),
    RowKind(
        name="affine_random", title="random affine transforms", group="affine", access=Access.LABELS,
        function=f"{_IMAGES}:affine_random",
        settings=("draws", "rotation", "shear", "scale", "shift", "padding", "seed"),
    ),
    RowKind(
        name="affine_grid", title="affine transforms on a grid, one number at a time", group="affine",
        access=Access.LABELS, function=f"{_IMAGES}:affine_grid",
        settings=("rotation", "shear", "scale", "shift", "padding"),
    ),
    RowKind(
        name="corruptions", title="corruptions of the whole image", group="corruption", access=Access.LABELS,
        function=f"{_IMAGES}:corruptions", settings=("corruptions", "severity", "seed"),
    ),
    RowKind(
        name="noise_linf", title="random noise in linf", group="attack", access=Access.LABELS,
        function=f"{_IMAGES}:noise_linf", settings=("draws", "eps", "seed"),
    ),
    RowKind(
        name="noise_l2", title="random noise in l2", group="attack", access=Access.LABELS,
        function=f"{_IMAGES}:noise_l2", settings=("draws", "eps_l2", "seed"),
    ),
    RowKind(
        name="pgd_linf", title="PGD in linf", group="attack", access=Access.GRADIENTS,
        function=f"{_ATTACKS}:pgd_linf", settings=("eps", "steps", "seed"), control="noise_linf",
    ),
    RowKind(
        name="pgd_l2", title="PGD in l2", group="attack", access=Access.GRADIENTS,
        function=f"{_ATTACKS}:pgd_l2", settings=("eps_l2", "steps", "seed"), control="noise_l2",
    ),
    RowKind(
        name="pgd_linf_targeted", title="PGD in linf to a random class", group="attack", access=Access.GRADIENTS,
        function=f"{_ATTACKS}:pgd_linf_targeted", settings=("eps", "steps", "seed"), control="noise_linf",
    ),
    RowKind(
        name="apgd_linf", title="APGD in linf", group="attack", access=Access.GRADIENTS,
        function=f"{_ATTACKS}:apgd_linf", settings=("eps", "apgd_steps", "seed"), control="noise_linf",
    ),
    RowKind(
        name="apgd_l2", title="APGD in l2", group="attack", access=Access.GRADIENTS,
        function=f"{_ATTACKS}:apgd_l2", settings=("eps_l2", "apgd_steps", "seed"), control="noise_l2",
    ),
    RowKind(
        name="vote_linf", title="vote attack on a capsule network in linf", group="attack", access=Access.INTERNALS,
        function=f"{_ATTACKS}:vote_linf", settings=("eps", "steps", "seed"), control="noise_linf",
    ),
    RowKind(
        name="patch_natural", title="one patch corrupted", group="patch", access=Access.LABELS,
        function=f"{_PATCHES}:natural", settings=(*_PLACE, "patch_corruptions", "patch_severity", "seed"),
    ),
    RowKind(
        name="patch_noise", title="one patch of random pixels", group="patch", access=Access.LABELS,
        function=f"{_PATCHES}:noise", settings=(*_PLACE, "seed"),
    ),
    RowKind(
        name="patch_adversarial", title="one adversarial patch", group="patch", access=Access.GRADIENTS,
        function=f"{_PATCHES}:adversarial", settings=(*_CRAFT, "seed"), control="patch_noise",
    ),
    RowKind(
        name="patch_temperature", title="adversarial patch against smoothed attention", group="patch",
        access=Access.INTERNALS, function=f"{_PATCHES}:temperature", settings=(*_CRAFT, "temperatures", "seed"),
        control="patch_noise",
    ),
)  # fmt: skip


def chosen_rows(names: tuple[str, ...]) -> tuple[RowKind, ...]:
    """Return the chosen rows in the order of the registry, or all.

    The clean row and all controls are added.
    """
    wanted = {"clean", *names, *(kind.control for kind in ROWS if kind.name in names)}
    return tuple(kind for kind in ROWS if not names or kind.name in wanted)
