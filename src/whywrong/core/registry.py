"""Methods and claims by name, as import strings that are resolved on use.

The registry drives the command line, the runs, the report and the contract suite. Plug-ins register through the
entry-point groups ``whywrong.methods`` and ``whywrong.claims``, each entry naming a :class:`Method` or
:class:`Claim`; they never shadow a built-in.
"""

from __future__ import annotations

import difflib
import importlib
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any, Literal, TypeVar

from whywrong.core.access import Access
from whywrong.core.errors import InputError

Depth = Literal["quick", "standard", "deep"]
DEPTHS: tuple[Depth, ...] = ("quick", "standard", "deep")


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One line of the registry.

    Attributes:
        name: Name of the method, of its view and of its folder in a run.
        title: What it answers, in a few words.
        access: The least access it needs.
        function: ``module:attribute`` of ``method(classifier, x, y, *, keys=None, config) -> MethodResult``.
        config: ``module:attribute`` of its frozen config.
        draw: ``module:attribute`` of the function that draws its result.
        view: ``module:attribute`` of ``view(shown) -> View | None``, which says what the report shows of one error: of
            a plug-in, see :mod:`whywrong.report.parts.guests`. None shows nothing. Built-ins have parts of their own.
        depth: The shallowest depth that runs it.
        takes: Optional keyword inputs it understands: ``detail`` (B,) bool, rows to explain in full, and
            ``masks`` (B, H, W) bool, the object at input size, all False where unknown.
        passes: Images that it usually sends through the model, forward and backward, for one error, and for one
            explained in full. Only the progress of a run leans on it, until it has seen what the method takes here.
        result_version: Raised when its results change; older rows are then redone.
        role_play: Whether a run also asks about images that the model reads right, as if they were labelled as their
            runner-up. Its result then has the columns ``status``, ``v`` and ``turned``, and its view gains ``p`` and
            ``place_confirmed``, see :func:`whywrong.core.discoveries.confirm`.
    """

    name: str
    title: str
    access: Access
    function: str
    config: str
    draw: str
    view: str | None = None
    depth: Depth = "quick"
    takes: frozenset[str] = frozenset()
    passes: tuple[int, int] = (100, 100)
    result_version: int = 1
    role_play: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A finding of a paper as a test on any model and data.

    Attributes:
        name: ``family.number``, as in ``inverted.1``.
        title: The claim in one sentence.
        function: ``module:attribute`` of ``claim(models, data, config) -> ClaimResult``.
        config: ``module:attribute`` of its frozen config.
        models: How many classifiers it compares, 1 or 2.
        draw: ``module:attribute`` of ``draw(result) -> matplotlib Figure``; None for the plain one.
        takes: Optional keyword inputs it understands: ``judges``, a sequence of further classifiers that are asked for
            their opinion; ``progress``, a callable that is told a ``ClaimProgress`` after every step; ``memory``, a
            dictionary that lasts over the claims of one call, so that what several need is measured once.
    """

    name: str
    title: str
    function: str
    config: str
    models: int = 1
    draw: str | None = None
    takes: frozenset[str] = frozenset()


BUILTIN_METHODS: tuple[Method, ...] = (
    Method(
        name="cam",
        title="where the evidence for the wrong and for the true class lies",
        access=Access.INTERNALS,
        function="whywrong.explain.cam:cam",
        config="whywrong.explain.cam:CamConfig",
        draw="whywrong.report.drawing:draw_cam",
        passes=(1, 1),
    ),
    Method(
        name="inverted",
        title="the smallest change that makes the image right",
        access=Access.GRADIENTS,
        function="whywrong.attacks.inverted:invert",
        config="whywrong.attacks.inverted:InvertedConfig",
        draw="whywrong.report.drawing:draw_inverted",
        takes=frozenset({"detail", "masks"}),
        passes=(40, 75),
        result_version=2,
    ),
    Method(
        name="covering",
        title="whether hiding one small place brings out the true class and no other",
        access=Access.SCORES,
        function="whywrong.explain.covering:covering",
        config="whywrong.explain.covering:CoveringConfig",
        draw="whywrong.report.draw_covering:draw_covering",
        takes=frozenset({"detail"}),
        passes=(0, 50),
        role_play=True,
    ),
    Method(
        name="patch_groups",
        title="which patches make the decision, break it, or turn it into the true class",
        access=Access.SCORES,
        function="whywrong.explain.patch_groups:patch_groups",
        config="whywrong.explain.patch_groups:PatchGroupsConfig",
        draw="whywrong.report.draw_patch_groups:draw_patch_groups",
        depth="standard",
        takes=frozenset({"detail"}),
        passes=(0, 900),
    ),
    Method(
        name="counterfactuals",
        title="what the model would have to see for the true class, and what it saw in the wrong one",
        access=Access.GRADIENTS,
        function="whywrong.explain.counterfactuals:counterfactual",
        config="whywrong.explain.counterfactuals:CounterfactualConfig",
        draw="whywrong.report.draw_counterfactuals:draw_counterfactuals",
        depth="deep",
        takes=frozenset({"detail", "masks"}),
        passes=(0, 80),
    ),
    Method(
        name="profiles",
        title="how strongly patches cooperate, by how much else is visible",
        access=Access.SCORES,
        function="whywrong.explain.interactions.method:interactions",
        config="whywrong.explain.interactions.method:ProfilesConfig",
        draw="whywrong.report.draw_profiles:draw_profiles",
        depth="standard",
        takes=frozenset({"detail"}),
        passes=(0, 2_700),
        result_version=2,
    ),
)

BUILTIN_CLAIMS: tuple[Claim, ...] = (
    Claim(
        name="inverted.1",
        title="white-box fixes exist for practically every error and need about one iteration",
        function="whywrong.reproduce.inverted:fixes_exist",
        config="whywrong.reproduce.inverted:InvertedClaimConfig",
    ),
    Claim(
        name="inverted.3",
        title="the changes needed are small",
        function="whywrong.reproduce.inverted:fixes_are_small",
        config="whywrong.reproduce.inverted:InvertedClaimConfig",
    ),
    Claim(
        name="inverted.6",
        title="the true label is a privileged direction",
        function="whywrong.reproduce.inverted:true_label_is_near",
        config="whywrong.reproduce.inverted:InvertedClaimConfig",
    ),
    Claim(
        name="interactions.C1",
        title="attacked images are misread with stronger interactions of high orders than their sources",
        function="whywrong.reproduce.interactions.group_claims:attacks_raise_high_orders",
        config="whywrong.reproduce.interactions.config:InteractionsClaimConfig",
        draw="whywrong.reproduce.interactions.figures:draw_band",
        takes=frozenset({"progress", "memory"}),
    ),
    Claim(
        name="interactions.C2",
        title="corrupted images are misread with weaker interactions of low orders than their sources",
        function="whywrong.reproduce.interactions.group_claims:corruption_lowers_low_orders",
        config="whywrong.reproduce.interactions.config:InteractionsClaimConfig",
        draw="whywrong.reproduce.interactions.figures:draw_band",
        takes=frozenset({"progress", "memory"}),
    ),
    Claim(
        name="interactions.C3",
        title="the profile of interactions differs between kinds of misclassification",
        function="whywrong.reproduce.interactions.group_claims:kinds_of_error_differ",
        config="whywrong.reproduce.interactions.config:InteractionsClaimConfig",
        draw="whywrong.reproduce.interactions.figures:draw_profiles",
        takes=frozenset({"progress", "memory"}),
    ),
    Claim(
        name="interactions.C4",
        title="the profile of a vision transformer differs from that of a convolutional net",
        function="whywrong.reproduce.interactions.two_models:transformer_differs",
        config="whywrong.reproduce.interactions.config:InteractionsClaimConfig",
        models=2,
        draw="whywrong.reproduce.interactions.figures:draw_models",
        takes=frozenset({"progress", "memory"}),
    ),
    Claim(
        name="interactions.C5",
        title="the sign of interactions tells groups of images apart",
        function="whywrong.reproduce.interactions.group_claims:signs_differ",
        config="whywrong.reproduce.interactions.config:InteractionsClaimConfig",
        draw="whywrong.reproduce.interactions.figures:draw_profiles",
        takes=frozenset({"progress", "memory"}),
    ),
    Claim(
        name="interactions.C6",
        title="interactions are relatively strong at the lowest and highest orders and weak between",
        function="whywrong.reproduce.interactions.group_claims:both_ends_are_high",
        config="whywrong.reproduce.interactions.config:InteractionsClaimConfig",
        draw="whywrong.reproduce.interactions.figures:draw_profiles",
        takes=frozenset({"progress", "memory"}),
    ),
    Claim(
        name="interactions.C7",
        title="an attack acts mostly on interactions of high orders",
        function="whywrong.reproduce.interactions.attribution:attacks_act_on_high_orders",
        config="whywrong.reproduce.interactions.config:InteractionsClaimConfig",
        draw="whywrong.reproduce.interactions.figures:draw_parts",
        takes=frozenset({"progress", "memory"}),
    ),
    Claim(
        name="interactions.C8",
        title="patches chosen together show and break a decision better than patches ranked one by one",
        function="whywrong.reproduce.interactions.rankings:groups_beat_rankings",
        config="whywrong.reproduce.interactions.config:PatchClaimConfig",
        draw="whywrong.reproduce.interactions.figures:draw_curves",
        takes=frozenset({"progress", "memory"}),
    ),
    Claim(
        name="counterfactuals.C1",
        title="the smaller the exponent, the fewer pixels carry the change, at radii of equal mean change",
        function="whywrong.reproduce.counterfactuals.claims:sparsity_follows_the_exponent",
        config="whywrong.reproduce.counterfactuals.config:CounterfactualClaimConfig",
        draw="whywrong.reproduce.counterfactuals.figure:draw_spread",
        takes=frozenset({"progress", "memory"}),
    ),
    Claim(
        name="counterfactuals.C2",
        title="at those radii p = 1.5 reaches a probability between those of p = 1 and p = 2",
        function="whywrong.reproduce.counterfactuals.claims:reach_lies_between",
        config="whywrong.reproduce.counterfactuals.config:CounterfactualClaimConfig",
        draw="whywrong.reproduce.counterfactuals.figure:draw_spread",
        takes=frozenset({"progress", "memory"}),
    ),
    Claim(
        name="counterfactuals.C3",
        title="the best value never falls, and 30 steps give 95 % of the probability of 75",
        function="whywrong.reproduce.counterfactuals.claims:short_searches_do",
        config="whywrong.reproduce.counterfactuals.config:CounterfactualClaimConfig",
        draw="whywrong.reproduce.counterfactuals.figure:draw_spread",
        takes=frozenset({"progress", "memory"}),
    ),
    Claim(
        name="counterfactuals.C4",
        title="at p = 2 Auto-Frank-Wolfe and Auto-PGD end within a few points of each other",
        function="whywrong.reproduce.counterfactuals.claims:solvers_agree",
        config="whywrong.reproduce.counterfactuals.config:CounterfactualClaimConfig",
        draw="whywrong.reproduce.counterfactuals.figure:draw_spread",
        takes=frozenset({"progress", "memory"}),
    ),
    Claim(
        name="counterfactuals.C5",
        title="Auto-Frank-Wolfe leaves a part of its radius unused, and filling the ball recovers it",
        function="whywrong.reproduce.counterfactuals.claims:budget_stays_unused",
        config="whywrong.reproduce.counterfactuals.config:CounterfactualClaimConfig",
        draw="whywrong.reproduce.counterfactuals.figure:draw_spread",
        takes=frozenset({"progress", "memory"}),
    ),
    Claim(
        name="counterfactuals.C8",
        title="changes at p = 1.5 lie more on the object than changes at p = 2",
        function="whywrong.reproduce.counterfactuals.claims:change_lies_on_the_object",
        config="whywrong.reproduce.counterfactuals.config:CounterfactualClaimConfig",
        draw="whywrong.reproduce.counterfactuals.figure:draw_spread",
        takes=frozenset({"progress", "memory"}),
    ),
    Claim(
        name="counterfactuals.C6",
        title="changes of an ordinary model convince no independent judge; guided by a robust one they do more often",
        function="whywrong.reproduce.counterfactuals.trust:guidance_convinces",
        config="whywrong.reproduce.counterfactuals.trust:TrustClaimConfig",
        models=2,
        takes=frozenset({"judges", "progress"}),
    ),
    Claim(
        name="counterfactuals.C7",
        title="taking harmful components away raises the spurious score and leaves accuracy about as it was",
        function="whywrong.reproduce.spurious:repair_helps",
        config="whywrong.reproduce.spurious:SpuriousClaimConfig",
        takes=frozenset({"progress"}),
    ),
)

R = TypeVar("R", Method, Claim)


def methods() -> dict[str, Method]:
    """All methods by name: built-ins, then plug-ins."""
    return _with_plugins(BUILTIN_METHODS, "whywrong.methods", Method)


def claims() -> dict[str, Claim]:
    """All claims by name: built-ins, then plug-ins."""
    return _with_plugins(BUILTIN_CLAIMS, "whywrong.claims", Claim)


def resolve(import_string: str) -> Any:
    """The object behind ``module:attribute``."""
    module, _, attribute = import_string.partition(":")
    return getattr(importlib.import_module(module), attribute)


def find_method(name: str) -> Method:
    """The method called ``name``.

    Raises:
        InputError: No such method; the message lists those there are.
    """
    known = methods()
    if name not in known:
        raise InputError(f'no method "{name}"{nearest(name, known)}; the methods are: {", ".join(sorted(known))}')
    return known[name]


def find_claim(name: str) -> Claim:
    """Return the claim called ``name``.

    Raises:
        InputError: No such claim; the message lists those of its family, or the families.
    """
    known = claims()
    if name in known:
        return known[name]
    family = name.partition(".")[0]
    same = [claim for claim in known if claim.partition(".")[0] == family]
    there = f"the claims of {family} are {', '.join(same)}" if same else _families(known)
    raise InputError(
        f'no claim "{name}"{nearest(name, known)}; {there}; `whywrong reproduce` lists all with their titles'
    )


def find_claims(family: str) -> list[Claim]:
    """Return the claims of a family, in the order of the registry.

    Raises:
        InputError: No such family; the message lists the families.
    """
    known = claims()
    chosen = [claim for name, claim in known.items() if name.partition(".")[0] == family]
    if not chosen:
        raise InputError(f'no family of claims "{family}"; {_families(known)}')
    return chosen


def nearest(name: str, known: Iterable[str]) -> str:
    """``; nearest: "cam"`` for a message about an unknown name, or nothing where no known name is like it."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f'; nearest: "{near[0]}"' if near else ""


def _families(known: Iterable[str]) -> str:
    return f"the families are {', '.join(sorted({claim.partition('.')[0] for claim in known}))}"


def _with_plugins(builtin: tuple[R, ...], group: str, kind: type[R]) -> dict[str, R]:
    found: dict[str, R] = {entry.name: entry for entry in builtin}
    for point in entry_points(group=group):
        try:
            entry = point.load()
        except Exception as error:  # noqa: BLE001 - a plug-in may fail in any way; it is named and left out
            warnings.warn(f"plug-in {point.name} ({point.value}) failed to load: {error}", stacklevel=3)
            continue
        if not isinstance(entry, kind):
            warnings.warn(f"plug-in {point.name} ({point.value}) is not a {kind.__name__}; left out", stacklevel=3)
        elif entry.name in found:
            warnings.warn(f'plug-in {point.value} may not replace "{entry.name}"; left out', stacklevel=3)
        else:
            found[entry.name] = entry
    return found
