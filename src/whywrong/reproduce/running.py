"""Test of registered claims, one or all of a family, with all arguments checked first."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from whywrong.core.config import config_dict, make_config
from whywrong.core.errors import DeviceFailure, InputError, WhyWrongError
from whywrong.core.registry import Claim, claims, find_claim, find_claims, resolve
from whywrong.models.classifier import Classifier
from whywrong.reproduce.protocol import ClaimProgress, ClaimResult, LabelledImages, SkippedClaim


def run_claim(
    name: str,
    models: Sequence[Classifier],
    data: LabelledImages,
    settings: Mapping[str, Any] | None = None,
    *,
    judges: Sequence[Classifier] = (),
    progress: Callable[[ClaimProgress], None] | None = None,
) -> ClaimResult:
    """Test one registered claim.

    Args:
        name: Name of the claim, such as ``inverted.1``.
        models: The classifiers that the claim compares.
        data: Labelled images.
        settings: Settings of the claim; an unknown name is refused, and the most similar one suggested.
        judges: Further classifiers, for a claim that takes them.
        progress: Called with the progress of a long claim.

    Raises:
        InputError: The claim is unknown, the number of models is wrong, the claim takes no judges, or a setting breaks
            its contract.
    """
    claim = find_claim(name)
    if len(models) != claim.models:
        remedy = "; name the second with --model2" if claim.models > len(models) else ""
        raise InputError(f"claim {name} takes {claim.models} model(s), got {len(models)}{remedy}")
    _check_judges(name, [claim], judges)
    config = make_config(resolve(claim.config), settings or {}, name)
    return _run(claim, config, models, data, judges=judges, progress=progress, cache={"claims": (name,)})


def run_claims(
    family: str,
    models: Sequence[Classifier],
    data: LabelledImages,
    settings: Mapping[str, Any] | None = None,
    *,
    judges: Sequence[Classifier] = (),
    progress: Callable[[ClaimProgress], None] | None = None,
) -> Iterator[ClaimResult | SkippedClaim]:
    """Test all claims of a family, one after the other.

    All arguments are checked before the first claim runs.

    Args:
        family: Name of the family, such as ``inverted``.
        models: One or two classifiers; claims about one use the first, and claims about two need both.
        data: Labelled images.
        settings: Each is passed to the claims that have it.
        judges: Further classifiers, for the claims that take them.
        progress: Called with the progress of a long claim.

    Yields:
        A result for each claim, or the reason why there is none.

    Raises:
        InputError: The family is unknown, there are no models or more than two, no claim takes judges, no claim has a
            setting, or a setting breaks its contract.
    """
    chosen = find_claims(family)
    if not 1 <= len(models) <= 2:
        raise InputError(f"{family}.all takes one model or two, got {len(models)}")
    _check_judges(f"{family}.all", chosen, judges)
    configs = _family_configs(family, chosen, settings or {})
    return _run_all(chosen, configs, models, data, judges, progress)


def _run_all(
    chosen: Sequence[Claim],
    configs: Sequence[Any],
    models: Sequence[Classifier],
    data: LabelledImages,
    judges: Sequence[Classifier],
    progress: Callable[[ClaimProgress], None] | None,
) -> Iterator[ClaimResult | SkippedClaim]:
    cache: dict[Any, Any] = {"claims": tuple(claim.name for claim in chosen)}
    for claim, config in zip(chosen, configs, strict=True):
        if claim.models > len(models):
            yield SkippedClaim(claim.name, claim.title, "it compares two models; name the second with --model2", False)
            continue
        try:
            yield _run(claim, config, models[: claim.models], data, judges=judges, progress=progress, cache=cache)
        except DeviceFailure:
            raise
        except WhyWrongError as error:  # the other claims may still be tested
            yield SkippedClaim(claim.name, claim.title, " ".join(str(error).split()), True)


def _run(claim: Claim, config: Any, models: Sequence[Classifier], data: LabelledImages, **inputs: Any) -> ClaimResult:
    inputs["memory"] = inputs["cache"]  # the old name; removed in the next release
    taken = {name: value for name, value in inputs.items() if name in claim.takes}
    result: ClaimResult = resolve(claim.function)(models, data, config, **taken)
    return dataclasses.replace(
        result,
        name=claim.name,
        title=claim.title,
        config=config_dict(config),
        models=[model.identity for model in models],
        judges=[judge.identity for judge in taken.get("judges", ())],
    )


def _family_configs(family: str, chosen: Sequence[Claim], settings: Mapping[str, Any]) -> list[Any]:
    """Build the config of each claim from the settings that it has."""
    classes = [resolve(claim.config) for claim in chosen]
    names = [[field.name for field in dataclasses.fields(one)] for one in classes]
    known = sorted({name for some in names for name in some})
    for key in settings:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.0)
            raise InputError(f'no claim of {family} has a setting "{key}"; nearest: "{near[0]}"')
    return [
        make_config(one, {key: value for key, value in settings.items() if key in mine}, claim.name)
        for claim, one, mine in zip(chosen, classes, names, strict=True)
    ]


def _check_judges(name: str, chosen: Sequence[Claim], judges: Sequence[Classifier]) -> None:
    if judges and not any("judges" in claim.takes for claim in chosen):
        taking = ", ".join(claim.name for claim in claims().values() if "judges" in claim.takes)
        raise InputError(f"{name} takes no judges; claims that do: {taking or 'none'}")
