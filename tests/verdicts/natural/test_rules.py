"""Rules for natural errors, on measurements whose cause is made."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from whywrong.verdicts.measured import Measured
from whywrong.verdicts.natural.maps import MAP_SIGNS
from whywrong.verdicts.natural.rules import (
    FEWEST_REFERENCE,
    comparable,
    natural_findings,
    possible_findings,
    undecided,
)

SIGNS = ("label_in_top5", "survival_label", "flat_share", *MAP_SIGNS)
CLASSES = 60


def images(n: int, seed: int, helpers: int = 0) -> Measured:
    """Images that all come from one distribution, so that nothing sets errors and reference apart."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, CLASSES, n)
    predicted = (label + rng.integers(1, CLASSES, n)) % CLASSES
    logits = rng.normal(0, 1, (n, CLASSES)).astype(np.float32)
    rows = np.arange(n)
    logits[rows, label] = 5
    logits[rows, predicted] = 5 + rng.gamma(2, 1, n)
    values = {
        "label_in_top5": rng.beta(4, 1, n),
        "survival_label": np.maximum(rng.normal(0, 0.1, n), 0),
        "flat_share": rng.beta(2, 8, n),
        "maps_alike": rng.uniform(-0.2, 1, n),
        "label_at_border": rng.beta(2, 8, n),
        "label_down": rng.uniform(0, 1, n),
        "label_across": rng.uniform(0, 1, n),
        "label_enlarged": rng.choice([0, 0.5, 1], n, p=[0.8, 0.1, 0.1]),
        "whole_gain": rng.normal(0, 1, n),
        "outward_gain": rng.normal(0.7, 1, n),
    }
    return Measured(
        item_ids=tuple(f"{seed}/{row}" for row in range(n)),
        sources=tuple(f"{seed}/{row}" for row in range(n)),
        label=label,
        predicted=predicted,
        logits=logits,
        features=rng.normal(0, 1, (n, 32)).astype(np.float32),
        sign_names=SIGNS,
        signs=np.stack([values[name] for name in SIGNS], 1).astype(np.float32),
        test_names=(),
        restored=np.zeros((n, 0), np.float32),
        detail=np.zeros((n, 3, 0, 0), np.float16),
        helper_logits=rng.normal(0, 1, (helpers, n, CLASSES)).astype(np.float32),
        forwards=np.zeros(n, np.int64),
        backwards=np.zeros(n, np.int64),
    )


def with_signs(measured: Measured, row: int, **values: float) -> Measured:
    signs = measured.signs.copy()
    for name, value in values.items():
        signs[row, SIGNS.index(name)] = value
    return replace(measured, signs=signs)


def close(measured: Measured, row: int, lead: float = 0.05) -> Measured:
    """Set the margin of an image."""
    logits = measured.logits.copy()
    logits[row, measured.predicted[row]] = logits[row, measured.label[row]] + lead
    return replace(measured, logits=logits)


QUIET = {"label_in_top5": 0.0, "maps_alike": 0.5, "label_at_border": 0.0, "label_enlarged": 0.0, "whole_gain": -1.0}
ALIKE = {"label_in_top5": 1.0, "maps_alike": 0.99, "label_at_border": 0.0, "whole_gain": -1.0}
REFERENCE = images(200, 1)


def quiet_errors(n: int = 4, helpers: int = 0) -> Measured:
    errors = images(n, 2, helpers)
    for row in range(n):
        errors = with_signs(errors, row, **QUIET)
    return errors


def test_nothing_is_said_of_errors_without_a_sign_of_any_rule():
    assert natural_findings(quiet_errors(), REFERENCE) == [None] * 4


def test_a_close_label_that_stays_close_on_the_same_places_is_confusion():
    errors = close(with_signs(quiet_errors(), 1, **ALIKE), 1)
    found = natural_findings(errors, REFERENCE)
    assert found[1] is not None
    assert (found[1].cause, found[1].stated) == ("confusion", True)
    assert found[1].sentence.format(label="mink", predicted="weasel") == (
        "Probably confusion: mink and weasel look alike here, or both labels could be right."
    )
    assert [one is None for one in found] == [True, False, True, True]


@pytest.mark.parametrize("broken", [{"label_in_top5": 0.1}, {"maps_alike": -0.1}, {"maps_alike": float("nan")}])
def test_confusion_needs_every_one_of_its_signs(broken: dict[str, float]):
    errors = close(with_signs(quiet_errors(), 0, **ALIKE | broken), 0)
    assert natural_findings(errors, REFERENCE)[0] is None


def test_a_prediction_far_ahead_is_no_confusion():
    assert natural_findings(close(with_signs(quiet_errors(), 0, **ALIKE), 0, lead=8), REFERENCE)[0] is None


def test_confusion_is_not_stated_where_other_models_predict_a_third_class():
    errors = close(with_signs(quiet_errors(helpers=1), 0, **ALIKE), 0)
    for answer, stated in ((errors.label[0], True), (errors.predicted[0], True), (None, False)):
        logits = np.zeros_like(errors.helper_logits)
        third = next(c for c in range(CLASSES) if c not in (errors.label[0], errors.predicted[0]))
        logits[0, 0, third if answer is None else answer] = 9
        finding = natural_findings(replace(errors, helper_logits=logits), REFERENCE)[0]
        assert finding is not None
        assert finding.stated == stated
        assert bool(finding.against_text) != stated
        assert finding.sentence.startswith("Probably" if stated else "Looks like")


def test_among_few_classes_only_placeholders_are_told():
    def few(part: Measured) -> Measured:
        label, predicted = part.label % 8, (part.label + 1) % 8
        logits = part.logits[:, :8].copy()
        logits[np.arange(len(part)), label], logits[np.arange(len(part)), predicted] = 5, 6
        return replace(part, label=label, predicted=predicted, logits=logits)

    errors = with_signs(quiet_errors(), 0, **ALIKE)
    errors = with_signs(errors, 1, whole_gain=6.0, outward_gain=6.0, survival_label=0.0)
    assert natural_findings(close(few(errors), 0), few(REFERENCE)) == [None] * 4


def test_evidence_at_the_border_that_the_whole_photograph_adds_to_looks_cut():
    errors = with_signs(quiet_errors(), 2, label_at_border=0.9, whole_gain=2.0)
    finding = natural_findings(errors, REFERENCE)[2]
    assert finding is not None
    assert (finding.cause, finding.kind, finding.stated) == ("occluded", "cut", False)
    assert natural_findings(with_signs(errors, 2, whole_gain=-1.0), REFERENCE)[2] is None
    assert natural_findings(with_signs(errors, 2, whole_gain=float("nan")), REFERENCE)[2] is None


def test_much_gained_from_outside_the_crop_looks_cut_unless_small_changes_restore_the_label_too():
    errors = with_signs(quiet_errors(), 0, whole_gain=6.0, outward_gain=6.0, survival_label=0.0)
    finding = natural_findings(errors, REFERENCE)[0]
    assert finding is not None
    assert finding.kind == "cut"
    assert natural_findings(with_signs(errors, 0, survival_label=0.2), REFERENCE)[0] is None


def test_a_label_restored_around_its_own_evidence_looks_like_something_else_in_the_picture():
    errors = with_signs(quiet_errors(), 3, maps_alike=-0.9, label_enlarged=1.0)
    finding = natural_findings(errors, REFERENCE)[3]
    assert finding is not None
    assert (finding.cause, finding.stated) == ("spurious", False)
    assert natural_findings(with_signs(errors, 3, label_enlarged=0.5), REFERENCE)[3] is None


def test_one_empty_picture_with_two_labels_is_a_placeholder():
    errors = with_signs(with_signs(quiet_errors(), 0, flat_share=0.99), 1, flat_share=0.99)
    features = errors.features.copy()
    features[1] = features[0] + 0.01
    pair = replace(errors, features=features)
    found = natural_findings(pair, REFERENCE)
    assert [one.kind if one else None for one in found] == ["placeholder", "placeholder", None, None]
    assert all(one.stated for one in found if one)
    textured = with_signs(with_signs(pair, 0, flat_share=0.0), 1, flat_share=0.0)
    assert natural_findings(textured, REFERENCE)[:2] == [None, None]
    label = np.array([5, 5, 6, 7])
    assert natural_findings(replace(pair, label=label, predicted=label + 1), REFERENCE)[:2] == [None, None]


def test_images_like_the_reference_rarely_look_cut_or_show_something_else():
    kinds = [one.kind for one in natural_findings(images(600, 3), REFERENCE) if one is not None]
    assert kinds.count("cut") <= 0.05 * 600
    assert kinds.count("something else in the picture") <= 0.05 * 600
    assert kinds.count("placeholder") == 0


def test_labels_exchanged_between_errors_are_rarely_called_alike():
    errors = images(600, 4)
    other = np.roll(errors.label, 1)
    keep = other != errors.predicted
    logits, signs = errors.logits.astype(np.float64), errors.signs.copy()
    rank = (logits > logits[np.arange(600), other][:, None]).sum(1)
    signs[:, 0] = rank < 5  # the label is among the five best classes, or it is not, under all changes alike
    exchanged = replace(errors, label=other, signs=signs).at(keep)
    kinds = [one.kind for one in natural_findings(exchanged, REFERENCE) if one is not None]
    assert kinds.count("alike classes") <= 0.05 * keep.sum()


def test_without_enough_reference_images_no_rule_speaks():
    errors = close(with_signs(quiet_errors(), 0, **ALIKE), 0)
    assert natural_findings(errors, REFERENCE.at(np.arange(FEWEST_REFERENCE - 1))) == [None] * 4


def test_errors_are_compared_with_correct_images_of_equal_margin():
    errors = quiet_errors(20)
    for row in range(20):
        errors = close(errors, row, lead=0.2)
    rows = comparable(errors, REFERENCE)
    lead = REFERENCE.logits.max(1) - 5
    assert len(rows) == 100
    assert lead[rows].mean() < lead.mean()


def test_every_text_can_be_filled_with_class_names():
    errors = quiet_errors(helpers=2)
    errors = close(with_signs(errors, 0, **ALIKE), 0)
    errors = with_signs(errors, 1, whole_gain=6.0, outward_gain=6.0, survival_label=0.0, label_at_border=0.9)
    errors = with_signs(errors, 2, maps_alike=-0.9, label_enlarged=1.0, survival_label=0.3)
    said = [one for one in natural_findings(errors, REFERENCE) if one is not None]
    assert len(said) == 3
    for one in said:
        for text in (one.sentence, *one.for_text, *one.against_text):
            assert "{" not in text.format(label="a", predicted="b")


def hidden(measured: Measured, known: dict[str, np.ndarray]) -> Measured:
    """Forget signs of all images but those named."""
    signs = measured.signs.copy()
    for name, rows in known.items():
        away = np.ones(len(measured), bool)
        away[rows] = False
        signs[away, SIGNS.index(name)] = np.nan
    return replace(measured, signs=signs)


def test_rules_say_the_same_if_the_costly_signs_are_measured_only_where_a_rule_may_still_speak():
    everything = images(400, 3)
    for row in range(0, 400, 4):
        everything = close(everything, row, lead=0.5)
    possible = possible_findings(everything, REFERENCE)
    survived = {"label_in_top5": possible, "survival_label": possible}
    wanted = undecided(hidden(everything, survived), REFERENCE)
    lazy = hidden(everything, survived | {"label_enlarged": wanted["enlarged"], "outward_gain": wanted["corners"]})
    found, expected = natural_findings(lazy, REFERENCE), natural_findings(everything, REFERENCE)
    assert [(one.kind, one.for_text, one.against_text) if one else None for one in found] == [
        (one.kind, one.for_text, one.against_text) if one else None for one in expected
    ]
    assert {"alike classes", "cut", "something else in the picture"} <= {one.kind for one in expected if one}
    assert len(possible) < 400
    assert max(len(rows) for rows in wanted.values()) < 120


def test_without_a_reference_no_further_sign_is_asked_for():
    few = REFERENCE.at(np.arange(FEWEST_REFERENCE - 1))
    assert undecided(quiet_errors(), few) == {}
    assert len(possible_findings(quiet_errors(), few)) == 0
