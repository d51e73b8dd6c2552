"""Common parts of the claims about groups, such as verdicts by sign, numbers, wording, and data of figures."""

from __future__ import annotations

from typing import Any

from whywrong.core.statistics import Interval
from whywrong.reproduce.interactions.compare_groups import Comparison, Curves, Effect, curves_of
from whywrong.reproduce.interactions.config import InteractionsClaimConfig
from whywrong.reproduce.interactions.measure_groups import MeasuredGroups
from whywrong.reproduce.interactions.order_bands import band_of
from whywrong.reproduce.protocol import Part, Verdict, bounds_in_words, verdicts_of

CLASS_WORDS = ("true", "predicted", "difference")


def decide_effect(effect: Effect, *, above: bool) -> Verdict:
    """Decide whether an effect lies above (or below) zero.

    The decision uses its interval and its p-value adjusted over orders or bands.
    """
    return verdicts_of([Part(effect, effect.p_holm, above=above)])[0]


def drawing_of(
    measured: MeasuredGroups,
    config: InteractionsClaimConfig,
    groups: tuple[str, ...],
    statistic: str,
    paired: Comparison | None,
    *,
    control: Comparison | None = None,
    band: str = "",
) -> dict[str, Any]:
    """Collect the data of the figure.

    These are profiles of groups, or of a group and its sources with their difference.
    """
    lines: dict[str, Curves] = {}
    shown = ("correct", *groups) if "correct" not in groups and "correct" in measured.groups else groups
    for group in shown:
        lines[group] = curves_of(measured, group, draws=config.draws, seed=config.seed)
    if paired is not None:
        lines = {groups[0]: lines[groups[0]]}
        lines[f"{groups[0]}, sources"] = curves_of(
            measured, groups[0], source=True, draws=config.draws, seed=config.seed
        )
    return {
        "ratios": list(measured.ratios),
        "orders": list(measured.orders),
        "players": measured.players,
        "names": list(measured.names[:2]),
        "statistic": statistic,
        "band": band,
        "bands": band_of(measured.orders, measured.players).tolist(),
        "settings": measured.settings,
        "lines": {
            group: {
                name: [[i.value, i.low, i.high] for i in line.orders[statistic][name]] for name in measured.names[:2]
            }
            for group, line in lines.items()
        },
        "noisy": {
            group: {name: list(line.noisy[name]) for name in measured.names[:2]} for group, line in lines.items()
        },
        "n": {group: line.n for group, line in lines.items()},
        "control": None
        if control is None
        else {name: [e.value for e in control.orders[statistic][name]] for name in measured.names[:2]},
        "difference": None
        if paired is None
        else {
            name: [[e.value, e.low, e.high, e.p_holm] for e in paired.orders[statistic][name]]
            for name in measured.names[:2]
        },
    }


def common(measured: MeasuredGroups, group: str | None = None) -> dict[str, Any]:
    """Collect the facts that every claim reports about its measurement."""
    numbers: dict[str, Any] = {
        "groups": measured.settings or "images as they came",
        "players": f"{measured.players} {'patch tokens' if measured.kind == 'tokens' else 'cells of pixels'}",
        "pairs_an_image": measured.pairs,
        "passes_an_image": measured.forwards / measured.images,
    }
    for name in [group] if group else list(measured.groups):
        for source in (False, True) if group and measured.groups[name].source is not None else (False,):
            profile, label = (
                curves_of(measured, name, source=source, draws=1000),
                f"{name}{'_source' if source else ''}",
            )
            for word, value in zip(CLASS_WORDS[:2], measured.names, strict=False):
                numbers[f"noise_share_{label}_{word}"] = max(profile.noise[value])
                numbers[f"value_whole_{label}_{word}"] = profile.full[value].value
                numbers[f"value_empty_{label}_{word}"] = profile.empty[value].value
    for number, note in enumerate(measured.notes, start=1):
        numbers[f"note_{number}"] = note
    return numbers


def of_class(measured: MeasuredGroups, v: int) -> str:
    """Name the value function in words."""
    kind = measured.names[0].removesuffix("_true").replace("_", "-")
    return f"the {kind} of the {'true class' if v == 0 else 'predicted class'}"


def moved(effect: Effect, percent: float | None) -> str:
    share = "" if percent is None else f" ({percent:+.0f} %)"
    verb = "rose" if effect.low > 0 else "fell" if effect.high < 0 else "changed"
    amount = effect.value if verb == "changed" else abs(effect.value)
    bounds = sorted((effect.low, effect.high)) if verb != "fell" else sorted((-effect.low, -effect.high))
    return f"{verb} by {amount:.2g}{share}, {bounds_in_words(bounds[0], bounds[1])},"


def signed(interval: Interval) -> str:
    return f"{interval.value:+.2g} ({bounds_in_words(interval.low, interval.high)})"


def percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def percent_of(change: float, level: float) -> float | None:
    return 100 * change / level if level > 0 else None


def spread(name: str, effect: Interval | Effect) -> dict[str, float]:
    return {name: effect.value, f"{name}_from": effect.low, f"{name}_to": effect.high}
