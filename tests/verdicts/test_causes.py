"""The registry of causes."""

from __future__ import annotations

import pytest

from whywrong.core.errors import InputError
from whywrong.planting.batch import CAUSES as PLANTED
from whywrong.verdicts.causes import CAUSES, CLASSES, Cause, cause_named, with_causes


def test_the_classes_are_the_seven_causes_and_ordinary() -> None:
    assert CLASSES == (
        "label",
        "corruption",
        "adversarial",
        "spurious",
        "occluded",
        "confusion",
        "shift",
        "ordinary",
    )


def test_every_planter_of_a_cause_exists() -> None:
    assert {cause.planter for cause in CAUSES} <= set(PLANTED)


def test_sentences_take_the_label_and_the_prediction_and_nothing_else() -> None:
    for cause in CAUSES:
        text = cause.sentence.format(label="cat", predicted="dog")
        assert "{" not in text
        assert text.endswith(".")


def test_a_plug_in_adds_a_cause_and_cannot_replace_one() -> None:
    added = Cause(name="glare", kinds=(), sentence="Glare hides {label}.", action="Use a polariser.")
    assert with_causes([added])[-1] is added
    assert cause_named("glare", with_causes([added])) is added
    with pytest.raises(InputError, match="already defined"):
        with_causes([Cause(name="ordinary", kinds=(), sentence="x", action="y")])
    with pytest.raises(InputError, match="needs a sentence"):
        with_causes([Cause(name="glare", kinds=(), sentence="", action="y")])


def test_an_unknown_cause_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match="label, corruption"):
        cause_named("weather")
