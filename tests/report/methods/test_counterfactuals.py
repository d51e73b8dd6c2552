"""Only a trusted change is drawn as an explanation; any other is small, grey, and said to be none."""

from __future__ import annotations

import base64
import io
import math

import numpy as np
import pytest
from PIL import Image
from tests.report.methods.context import context, plain

from whywrong.report.methods.counterfactuals.section import section
from whywrong.report.primitives.sections import SliderPanel
from whywrong.report.tables import Row


def row(role: str, trust: str, eps: float = 5.6, **more) -> Row:
    return Row(
        {"status": "ok", "role": role, "target": 0 if role == "true" else 1, "eps": eps, "p": 1.5, "valid": True,
         "valid_u8": True, "predicted_end": 0, "probability_target_start": 0.03, "probability_target_end": 0.82,
         "norm": 5.5, "pix90": 0.41, "gap": 0.01, "steps": 30, "ending": "steps", "forwards": 90, "backwards": 60,
         "trajectory": [math.log(0.03), math.log(0.5), math.log(0.82)], "trust": trust, "trust_score": 1.2,
         "trust_reason": "the reason why", **more}
    )  # fmt: skip


def shown(*rows: Row, side: int = 96) -> SliderPanel:
    at = context(counterfactuals=list(rows))
    rng = np.random.default_rng(0)
    stored = {"image_u8": np.full((3, side, side), 100, np.uint8)}
    for entry in rows:
        change = np.zeros((side, side), np.float32)
        change[: side // 2] = 0.6 if entry["role"] == "true" else -0.3
        change += rng.normal(0, 1e-3, change.shape).astype(np.float32)
        stored[f"{entry['role']}_change"] = change
        stored[f"{entry['role']}_u8"] = np.clip(100 + change / 3 * 255, 0, 255).astype(np.uint8)[None].repeat(3, 0)
    at.tables.run.stored["counterfactuals", "0"] = stored  # type: ignore[attr-defined]
    found = section(at)
    assert found is not None
    (panel,) = found.panels
    assert isinstance(panel, SliderPanel)
    return panel


def pixels(address: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.split(",")[1]))).convert("RGB"), np.int16)


def test_trusted_changes_stand_on_both_sides_of_the_image():
    panel = shown(row("true", "semantic"), row("wrong", "semantic"))
    assert [picture.role for picture in panel.pictures] == ["wrong", "image", "true"]
    assert [change.role for change in panel.changes] == ["true", "wrong"]
    assert panel.doubted == []
    assert plain(panel.changes[0].sentences) == (
        "With this change, the model predicts envelope: 82 % (3 % before). 90 % of the change is in 41 % of the"
        " pixels. Other classifiers see the change as well (the reason why)."
    )


@pytest.mark.parametrize(("trust", "words"), [
    ("adversarial", "but it is adversarial noise, not an explanation: the reason why."),
    ("undecided", "its meaning is undecided, so it is not shown as an explanation: the reason why."),
    ("unchecked", "no other model has checked it, so it is not shown as an explanation"),
    ("something new", "so it is not shown as an explanation"),
])  # fmt: skip
def test_a_change_that_is_not_trusted_is_no_picture_to_slide_to(trust, words):
    panel = shown(row("true", trust), row("wrong", trust))
    assert panel.pictures == panel.changes == []
    assert [doubt.role for doubt in panel.doubted] == ["true", "wrong"]
    assert words in plain([panel.doubted[0].sentence])
    assert "nothing that can be trusted" in panel.title
    small = pixels(panel.doubted[0].image)
    assert max(small.shape) <= 72
    assert abs(small - small.mean(axis=2, keepdims=True)).max() <= 2  # no colour


def test_one_trusted_change_leaves_the_other_aside():
    panel = shown(row("true", "semantic"), row("wrong", "adversarial"))
    assert [picture.role for picture in panel.pictures] == ["image", "true"]
    assert len(panel.changes) == len(panel.doubted) == 1


def test_differences_share_one_scale_and_their_colours_say_brighter_or_darker():
    panel = shown(row("true", "semantic"), row("wrong", "semantic"))
    assert "± 51 grey levels" in panel.unit  # 0.6 / 3 of 255 grey levels; the weaker change is paler on the same scale
    brighter, darker = (pixels(change.difference) for change in panel.changes)
    top = (slice(4, 30), slice(4, 90))
    assert (brighter[top][..., 1] > brighter[top][..., 0] + 60).all()  # green
    assert (darker[top][..., 0] > darker[top][..., 1] + 10).all()  # violet
    strength = [np.ptp(picture[top].reshape(-1, 3).mean(0)) for picture in (brighter, darker)]
    assert strength[0] > 1.3 * strength[1]
    below = brighter[60:, 4:90].reshape(-1, 3).mean(0)
    assert np.ptp(below) < 8  # where nothing changed the image is grey


def test_of_several_radii_the_largest_is_shown_and_all_are_told():
    at = context(counterfactuals=[row("true", "semantic", 2.8), row("true", "undecided", 5.6)])
    found = section(at)
    assert found is not None
    assert found.blocks[0].summary == "undecided"
    assert [name for name, *_ in found.blocks[0].rows].count("trust") == 2


def test_a_target_that_is_not_reached_is_said():
    panel = shown(row("true", "semantic", valid=False, valid_u8=False))
    assert "the model does not yet predict envelope: 82 %" in plain(panel.changes[0].sentences)
    doubted = shown(row("true", "adversarial", valid=False)).doubted[0]
    assert "which it does not reach" in plain([doubted.sentence])


def test_a_change_lost_in_whole_grey_levels_is_said():
    panel = shown(row("true", "semantic", valid_u8=False))
    assert "the change is lost if the image is saved in whole grey levels" in plain(panel.changes[0].sentences)


def test_refused_searches_say_why_and_skipped_ones_nothing():
    found = section(context(counterfactuals=[Row(status="refused", reason="no search could move")]))
    assert found is not None
    assert found.panels == []
    assert found.blocks[0].rows[0][2] == "no search could move"
    assert section(context(counterfactuals=[Row(status="skipped")])) is None
    assert section(context()) is None


def test_without_pictures_the_words_remain():
    found = section(context(counterfactuals=[row("true", "semantic"), row("wrong", "undecided")]))
    assert found is not None
    (panel,) = found.panels
    assert isinstance(panel, SliderPanel)
    assert panel.pictures == []
    assert panel.changes[0].difference == ""
    assert panel.doubted[0].image == ""
    assert "semantic" not in plain([panel.doubted[0].sentence])


@pytest.mark.parametrize(("guide", "words"), [
    ("auxiliary", "robust turned the gradients"),
    ("none", "The search had no guidance"),
    ("own gradient", "the model's own gradients"),
    ("given", "an objective given by the caller"),
])  # fmt: skip
def test_what_led_the_search_is_said(guide, words):
    more = {"guide": guide, "coherence": 0.3, "guided_by": "nets.py:robust turned the gradients"}
    panel = shown(row("true", "adversarial", **more), row("wrong", "undecided", **more))
    assert any(words in note for note in panel.notes)


def test_what_gradients_without_direction_led_to_is_no_picture_at_all():
    panel = shown(row("true", "adversarial", guide="none", coherence=0.2), row("wrong", "adversarial"))
    assert [doubt.image == "" for doubt in panel.doubted] == [True, False]
    assert "cosine 0.2" in panel.notes[0]
    assert "counterfactuals.aux" in panel.notes[0]
