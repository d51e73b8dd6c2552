"""Patch groups: sentences true to what was found, and overlays that cover what the model does not see."""

from __future__ import annotations

import numpy as np
import pytest
from tests.report.methods.context import context, plain

from whywrong.report.methods.patch_groups.section import NO_CAUSE, section
from whywrong.report.tables import Row

FOUND = Row(
    status="ok", rows=7, cols=7, players="tokens", value="log_odds", insertion_order=[3], insertion_values=[-1.0, 0.5],
    sufficient_size=1, sufficient_found=True, deletion_order=[3, 4], deletion_values=[2.0, 0.1, -0.3], breaking_size=2,
    breaking_found=True, broken_into=2, targeted_order=[3, 4, 5], targeted_values=[-1.0, -0.5, 0.0, 0.2],
    targeted_size=3, targeted_found=True, near_ties=0, forwards=300,
)  # fmt: skip


def told(**changes) -> str:
    found = section(context(patch_groups=Row(FOUND, **changes)))
    assert found is not None
    return plain(found.sentences)


def test_one_patch_that_is_enough_is_told():
    assert told() == (
        "1 of 49 patches is enough for the prediction ice cream: with only this patch shown, the model still"
        " predicts ice cream. With 3 of 49 patches hidden, the model predicts envelope, which is the label; with 2"
        " hidden it predicts crane, bird."
    )


def test_several_patches_are_told_in_the_plural():
    assert "4 of 49 patches are enough for the prediction ice cream" in told(sufficient_size=4)


def test_an_empty_group_means_that_no_patch_is_needed():
    assert "Even with every patch hidden, the model predicts ice cream." in told(sufficient_size=0, insertion_order=[])


def test_what_was_not_found_is_said_and_what_was_not_searched_is_not():
    assert "No small group of patches" in told(sufficient_found=False, sufficient_size=None)
    assert told(sufficient_found=None, targeted_found=None, breaking_found=None) == ""


def test_the_smaller_way_to_the_right_answer_is_told():
    assert "With 2 of 49 patches hidden, the model predicts envelope, which is the label." in told(broken_into=0)
    assert "With 2 of 49 patches hidden, the model no longer predicts ice cream, but crane, bird." in told(
        targeted_found=False, targeted_size=None
    )


def test_no_sentence_overlay_or_number_speaks_of_a_cause():
    found = section(context(patch_groups=FOUND))
    assert found is not None
    texts = [plain(found.sentences), *(f"{o.label} {o.caption}" for o in found.overlays), str(found.blocks)]
    for word in ("misled", "mislead", "because", "in the way", "cause", "responsible", "reason"):
        assert not any(word in text.lower() for text in texts), word
    assert NO_CAUSE in found.caveats
    nothing = section(
        context(patch_groups=Row(FOUND, sufficient_found=False, breaking_found=False, targeted_found=False))
    )
    assert nothing is not None
    assert NO_CAUSE not in nothing.caveats


def area(path: str, point: tuple[float, float]) -> bool:
    """Whether a point lies inside a path of straight lines, by the even-odd rule."""
    inside = False
    for loop in path.strip("MZ").split("ZM"):
        corners = [tuple(map(float, corner.split())) for corner in loop.split("L")]
        for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True):
            if (y0 > point[1]) != (y1 > point[1]) and point[0] < x0 + (point[1] - y0) * (x1 - x0) / (y1 - y0):
                inside = not inside
    return inside


@pytest.mark.parametrize(("kind", "covered"), [
    ("enough", set(range(49)) - {3}), ("breaking", {3, 4}), ("targeted", {3, 4, 5}),
])  # fmt: skip
def test_an_overlay_covers_exactly_the_patches_that_are_hidden(kind, covered):
    found = section(context(patch_groups=FOUND))
    assert found is not None
    (overlay,) = [overlay for overlay in found.overlays if overlay.kind == kind]
    assert {p for p in range(49) if area(overlay.path, (p % 7 + 0.5, p // 7 + 0.5))} == covered


def test_the_order_is_drawn_only_beside_a_group_that_is_enough():
    for enough, kinds in ((True, ["enough", "breaking", "targeted", "order"]), (False, ["breaking", "targeted"])):
        at = context(patch_groups=Row(FOUND, sufficient_found=enough))
        heat = np.zeros((7, 7), np.float32)
        heat[0, 3] = 1
        at.tables.run.stored["patch_groups", "0"] = {"sufficient": heat}  # type: ignore[attr-defined]
        found = section(at)
        assert found is not None
        assert [overlay.kind for overlay in found.overlays] == kinds


def test_a_fallback_to_pixels_is_a_caveat_with_its_reason_in_the_numbers():
    found = section(context(patch_groups=Row(FOUND, players="pixels", fallback="no patch tokens")))
    assert found is not None
    assert "covered with other pixels" in found.caveats[0]
    assert found.blocks[0].rows[-1][2] == "7 × 7 patches, squares of pixels covered (no patch tokens)"


def test_refused_and_skipped_searches_draw_nothing():
    found = section(context(patch_groups=Row(status="refused", reason="constant scores")))
    assert found is not None
    assert found.overlays == found.sentences == []
    assert found.blocks[0].rows[0][2] == "constant scores"
    assert section(context(patch_groups=Row(status="skipped"))) is None
    assert section(context()) is None
