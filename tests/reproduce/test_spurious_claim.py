"""Claim counterfactuals.C7 on a net made by hand, where the outcome is known."""

from __future__ import annotations

import pytest
from tests.explain.spurious.toys import toy_classifier, toy_images

from whywrong.core.errors import InputError
from whywrong.reproduce.protocol import TensorImages
from whywrong.reproduce.running import run_claim


def outcome(cue_share, n=200, **settings):
    x, label, _ = toy_images(n, cue_share)
    return run_claim("counterfactuals.C7", [toy_classifier()], TensorImages(x, label), settings)


def test_a_cue_on_other_classes_is_taken_away_and_the_claim_holds():
    result = outcome((0.5, 0.2, 0.2))
    assert result.verdict == "holds"
    numbers = result.numbers
    assert numbers["harmful"] == 1
    assert numbers["score_ap_after"] - numbers["score_ap_before"] == pytest.approx(result.effect)
    assert result.interval[0] > 0
    # Some cats look less like a cat than a misled image with the cue does; without the cue none of the others does.
    assert 0.5 < numbers["score_auc_before"] < numbers["score_auc_after"] == 1
    assert numbers["accuracy_after"] > numbers["accuracy_before"]  # the misled images are read rightly again
    assert "1 harmful component taken away" in result.sentence
    assert result.n + numbers["images_found_in"] + numbers["images_judged_on"] == 600


def test_accuracy_is_held_against_the_loss_that_is_allowed_not_against_a_gain():
    gain = outcome((0.5, 0.2, 0.2)).numbers["accuracy_change"]
    assert 0.05 < gain < 0.5
    assert outcome((0.5, 0.2, 0.2), loss=gain).verdict == "holds"
    assert outcome((0.5, 0.2, 0.2), loss=0.9).verdict == "holds"


def test_without_a_harmful_component_the_claim_is_undecided():
    result = outcome((0.5, 0.0, 0.0))
    assert (result.verdict, result.n) == ("undecided", 0)
    assert "nothing to take away" in result.sentence


def test_the_limit_is_kept_and_two_calls_agree():
    one, two = (outcome((0.5, 0.2, 0.2), limit=450) for _ in range(2))
    assert one.to_dict() == two.to_dict()
    assert one.n + one.numbers["images_found_in"] + one.numbers["images_judged_on"] == 450


def test_too_few_images_and_wrong_settings_are_refused():
    with pytest.raises(InputError, match="fewer than 20 images"):
        outcome((0.5, 0.0, 0.0), n=10)
    with pytest.raises(InputError, match="loss must be a share"):
        outcome((0.5, 0.0, 0.0), n=10, loss=2.0)
    with pytest.raises(InputError, match="limit must be at least 1"):
        outcome((0.5, 0.0, 0.0), n=10, limit=0)
