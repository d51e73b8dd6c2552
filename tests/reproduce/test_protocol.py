"""Claims: intervals against bounds, the errors they are measured on, and what they refuse."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn

from whywrong import reproduce
from whywrong.core.classes import ClassList
from whywrong.core.errors import InputError
from whywrong.core.registry import Claim
from whywrong.core.statistics import Interval
from whywrong.models.classifier import Classifier
from whywrong.reproduce.error_batches import error_batches
from whywrong.reproduce.figures import draw
from whywrong.reproduce.protocol import (
    ClaimContext,
    ClaimProgress,
    ClaimResult,
    SkippedClaim,
    TensorImages,
    both,
    claim,
    claim_result,
    decide,
)
from whywrong.reproduce.running import run_claim, run_claims


class FirstPixels(nn.Module):
    """Logits are the first three values of the image."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1)[:, :3]


@pytest.fixture
def classifier() -> Classifier:
    return Classifier(FirstPixels(), classes=ClassList(("a", "b", "c")))


def images(predicted: list[int]) -> torch.Tensor:
    """Images (N, 1, 2, 2) that ``FirstPixels`` reads as the classes given."""
    x = torch.full((len(predicted), 1, 2, 2), 0.25)
    x.flatten(1)[torch.arange(len(predicted)), torch.tensor(predicted)] = 0.75
    return x


@pytest.mark.parametrize(
    ("low", "high", "above", "verdict"),
    [
        (0.997, 1.0, True, "holds"),
        (0.95, 1.0, True, "undecided"),
        (0.90, 0.95, True, "does not hold"),
        (1.0, 1.2, False, "holds"),
        (1.8, 2.0, False, "undecided"),
        (2.0, 2.5, False, "does not hold"),
        (float("nan"), float("nan"), True, "undecided"),
    ],
)
def test_the_verdict_follows_the_whole_interval(low, high, above, verdict):
    bound = 0.9967 if above else 1.96
    assert decide(low, high, bound, above=above) == verdict


@pytest.mark.parametrize("bounds", [(math.nan, -1.0), (1.0, math.nan), (math.nan, math.nan)])
@pytest.mark.parametrize("above", [True, False])
def test_an_interval_without_one_of_its_ends_decides_nothing(bounds, above):
    assert decide(*bounds, 0.0, above=above) == "undecided"


def test_one_part_that_does_not_hold_decides():
    assert both("holds", "undecided", "does not hold") == "does not hold"
    assert both("holds", "undecided") == "undecided"
    assert both("holds", "holds") == "holds"


def test_error_batches_hold_the_wrong_images_in_order(classifier):
    predicted, labels = [0, 1, 2, 0, 1, 2], [0, 2, 2, 1, 1, 0]  # rows 1, 3 and 5 are wrong
    data = TensorImages(images(predicted), torch.tensor(labels), batch_size=2)
    found = list(error_batches(classifier, data, limit=None, batch_size=2))
    assert [ids for _, _, ids in found] == [["1", "3"], ["5"]]
    assert torch.cat([y for _, y, _ in found]).tolist() == [2, 1, 0]


def test_every_batch_but_the_last_is_full(classifier):
    data = TensorImages(images([0] * 7), torch.ones(7, dtype=torch.int64), batch_size=1)
    assert [len(x) for x, _, _ in error_batches(classifier, data, limit=None, batch_size=3)] == [3, 3, 1]


def test_a_limit_stops_at_the_first_errors_and_reads_no_further(classifier):
    data = TensorImages(images([0] * 100), torch.ones(100, dtype=torch.int64), batch_size=10)
    [(x, _, ids)] = error_batches(classifier, data, limit=3)
    assert ids == ["0", "1", "2"]
    assert len(x) == 3
    assert classifier.forwards == 10


def test_images_without_a_finite_answer_are_not_errors():
    class Broken(FirstPixels):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            logits = super().forward(x).clone()
            logits[logits.argmax(1) == 2] = torch.nan
            return logits

    classifier = Classifier(Broken(), classes=ClassList(("a", "b", "c")))
    data = TensorImages(images([2, 0, 2, 1]), torch.tensor([0, 1, 0, 0]))
    [(_, _, ids)] = error_batches(classifier, data, limit=None)
    assert ids == ["1", "3"]


def test_unknown_claims_settings_and_model_counts_are_refused(classifier):
    data = TensorImages(images([0]), torch.tensor([1]))
    with pytest.raises(InputError, match=r"inverted\.1"):
        run_claim("inverted.7", [classifier], data)
    with pytest.raises(InputError, match=r'nearest: "inverted\.1\.limit"'):
        run_claim("inverted.1", [classifier], data, {"limt": 3})
    with pytest.raises(InputError, match="takes 1 model"):
        run_claim("inverted.1", [classifier, classifier], data)
    with pytest.raises(InputError, match="at least 1"):
        run_claim("inverted.1", [classifier], data, {"limit": 0})


@dataclass(frozen=True, slots=True, kw_only=True)
class ToyConfig:
    """One setting of a toy claim."""

    level: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherConfig:
    """Another toy claim's setting."""

    depth: int = 1


def toy_claim(models, data, config, *, judges=(), progress=None, cache=None, memory=None) -> ClaimResult:
    """Reports a step, counts its calls in the cache, and ends in the number of judges."""
    if progress is not None:
        progress(ClaimProgress("counting", 1, 1))
    shared = memory if cache is None else cache  # memory is the old name
    shared["calls"] = shared.get("calls", 0) + 1
    pictures = {"first": torch.zeros(3, 2, 2)}
    numbers = {"calls": shared["calls"]}
    return ClaimResult(
        name="", title="", effect=len(judges), effect_name="judges", interval=(0.0, 1.0), n=1, verdict="holds",
        sentence="counted.", numbers=numbers, pictures=pictures, drawing={"deep": [(1, float("inf"))]},
    )  # fmt: skip


def failing_claim(models, data, config) -> ClaimResult:
    """Finds nothing to test."""
    raise InputError("no errors:\n nothing to measure")


def toy_figure(result):
    """Stands for a figure."""
    return f"figure of {result.name}"


@pytest.fixture
def toys(monkeypatch):
    """A family of four: one that takes everything, one that fails, one about two models, one with other settings."""
    here = toy_claim.__module__
    everything = frozenset({"judges", "progress", "cache"})
    first = Claim(name="toy.1", title="one", function=f"{here}:toy_claim", config=f"{here}:ToyConfig", takes=everything,
                  draw=f"{here}:toy_figure")  # fmt: skip
    family = (
        first,
        replace(first, name="toy.2", function=f"{here}:failing_claim", takes=frozenset(), draw=None),
        replace(first, name="toy.3", models=2),
        replace(first, name="toy.4", config=f"{here}:OtherConfig", takes=frozenset({"progress", "memory"})),
    )
    monkeypatch.setattr(reproduce, "CLAIMS", (*reproduce.CLAIMS, *family))
    return family


def test_a_family_goes_on_after_a_claim_that_fails_or_lacks_a_model(classifier, toys):
    data = TensorImages(images([0]), torch.tensor([1]))
    steps: list[ClaimProgress] = []
    first, failed, skipped, last = run_claims("toy", [classifier], data, {"depth": "3"}, progress=steps.append)
    assert isinstance(first, ClaimResult)
    assert isinstance(last, ClaimResult)
    assert failed == SkippedClaim("toy.2", "one", "no errors: nothing to measure", True)
    assert isinstance(skipped, SkippedClaim)
    assert not skipped.failed
    assert "--model2" in skipped.reason
    assert (first.config, last.config) == ({"level": 0.5}, {"depth": 3})
    assert [one.numbers["calls"] for one in (first, last)] == [1, 2]  # they share a cache
    assert steps == [ClaimProgress("counting", 1, 1)] * 2


def test_two_models_serve_claims_about_one_and_about_two(classifier, toys):
    data = TensorImages(images([0]), torch.tensor([1]))
    outcomes = list(run_claims("toy", [classifier, classifier], data))
    assert [len(one.models) for one in outcomes if isinstance(one, ClaimResult)] == [1, 2, 1]


def test_judges_reach_only_claims_that_take_them(classifier, toys):
    data = TensorImages(images([0]), torch.tensor([1]))
    result = run_claim("toy.1", [classifier], data, judges=[classifier, classifier])
    assert (result.effect, list(result.judges)) == (2, [classifier.identity] * 2)
    with pytest.raises(InputError, match=r"toy\.2 takes no judges; claims that do: .*toy\.1"):
        run_claim("toy.2", [classifier], data, judges=[classifier])


def test_settings_of_a_family_are_checked_before_its_first_claim(classifier, toys):
    data = TensorImages(images([0]), torch.tensor([1]))
    for settings, words in (({"levle": 1}, 'nearest: "level"'), ({"depth": "deep"}, r"toy\.4\.depth")):
        with pytest.raises(InputError, match=words):
            run_claims("toy", [classifier], data, settings)  # not iterated
    with pytest.raises(InputError, match=r"the families are .*inverted"):
        run_claims("toys", [classifier], data)
    with pytest.raises(InputError, match="one model or two"):
        run_claims("toy", [], data)


def test_a_claim_draws_its_own_figure(classifier, toys):
    result = run_claim("toy.1", [classifier], TensorImages(images([0]), torch.tensor([1])))
    assert draw(result) == "figure of toy.1"


def test_json_has_plain_values_and_no_pictures(classifier, toys):
    record = run_claim("toy.1", [classifier], TensorImages(images([0]), torch.tensor([1]))).to_dict()
    assert "pictures" not in record
    assert record["drawing"] == {"deep": [[1, None]]}
    json.dumps(record, allow_nan=False)


@claim
def asked_claim(context: ClaimContext[dict]) -> ClaimResult:
    """Says what it was asked with."""
    context.report_progress("look", 1, 2, passes=3)
    context.report_progress("look", 2, 2)
    context.cache["seen"] = context.cache.get("seen", 0) + 1
    return claim_result(Interval(0.5, 0.4, 0.6), effect_name="none", n=len(context.models), verdict="holds",
                        sentence=context.data + context.config["word"],
                        numbers={"seen": context.cache["seen"]})  # fmt: skip


@pytest.mark.parametrize("name", ["cache", "memory"])  # the second is the old name
def test_a_declared_claim_is_called_as_the_registry_says(name):
    told, shared = [], {}
    for calls in (1, 2):
        result = asked_claim(["one", "two"], "data", {"word": "!"}, progress=told.append, **{name: shared})
        assert (result.n, result.sentence, result.numbers["seen"]) == (2, "data!", calls)
        assert (result.effect, result.interval) == (0.5, (0.4, 0.6))
    assert told == [ClaimProgress("look", 1, 2, passes=3), ClaimProgress("look", 2, 2, passes=0)] * 2
    assert asked_claim.__name__ == "asked_claim"
    assert asked_claim.__doc__ == "Says what it was asked with."


def test_a_declared_claim_that_is_told_nothing_remembers_nothing():
    assert [asked_claim([], "", {"word": ""}).numbers["seen"] for _ in range(2)] == [1, 1]
