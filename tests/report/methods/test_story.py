"""Plain readings of one error: exact, short, and with their uncertainty."""

import numpy as np
import pytest
from tests.report.methods.context import ERROR, NAMES, context, plain

from whywrong.report import answer
from whywrong.report.methods.cam import half_cells, sentence
from whywrong.report.methods.cam import section as evidence
from whywrong.report.methods.inverted.section import section as fix_section
from whywrong.report.tables import Row

FIX = Row(
    status="ok", rho_linf=0.31 / 255, q_candidates=1, detailed=True, region_fixed=True,
    region_count=1, region_area=0.032, region_linf=12 / 255, u8_fixed=True, unstable=False, contribution_residual=0.001,
    rho_lin_linf=0.3 / 255, rho_l2=0.02, rho_lin_l2=0.02, margin_before=1.0, margin_after=-0.1, u8_linf=1 / 255,
    q_shrink=14, forwards=60, backwards=30, region_l2=0.4,
)  # fmt: skip


def text(fix=FIX, error=ERROR, nearer=0.8) -> str:
    told = answer.sentences(error, NAMES)
    part = fix_section(context(nearer, inverted=fix))
    return plain(told + (part.sentences if part else []))


def test_an_error_is_told_as_a_person_would():
    assert text() == (
        "The model predicts ice cream (71 %); the label is envelope (3 %, 2nd of 4)."
        " Changing each colour value by at most 0.31 grey levels turns the prediction into envelope; that is less"
        " than for 80 % of the corrected errors."
    )


def test_first_synonyms_serve_unless_two_classes_share_them():
    assert [NAMES[i] for i in range(4)] == ["envelope", "ice cream", "crane, bird", "crane, machine"]
    assert (NAMES[7], NAMES[None]) == ("class 7", "unlabelled")


def test_the_place_of_a_fix_is_shown_without_a_sentence_about_it():
    told = text(Row(FIX, object_lift=9.0, object_lift_p=0.001))
    assert not any(word in told for word in ("region", "lift", "object", "enough"))


def test_a_missing_fix_leaves_the_distance_unknown():
    assert "No correcting change was found with 70 changed images" in text(
        Row(FIX, status="no_answer", q_candidates=70)
    )


def test_a_lost_8_bit_fix_is_said():
    assert "No 8-bit change was found" in text(Row(FIX, u8_fixed=False))


def test_a_tie_is_said():
    assert "almost tied" in text(error=Row(ERROR, near_tie=True))


def test_evidence_names_both_classes_and_its_cells():
    cam = Row(status="ok", evidence=3.21, rows=7, cols=7)
    told = sentence(cam, 6, "ice cream", "envelope").striptags()
    assert "exceeds that for envelope by 3.21 logits; 6 of 49 cells hold half" in told
    assert "favours envelope by 1 logits" in sentence(Row(cam, evidence=-1.0), 0, "ice cream", "envelope").striptags()


def test_refused_evidence_is_not_told():
    part = evidence(context(cam=Row(status="refused", reason="odd", evidence=None, rows=7, cols=7)))
    assert part is not None
    assert part.sentences == part.overlays == []
    assert part.blocks[0].summary == "refused"


@pytest.mark.parametrize(
    ("values", "cells"), [([[4, 1], [1, 1]], 1), ([[1, 1], [1, 1]], 2), ([[-1, 0], [0, 0]], 0), ([[3, 2], [2, -9]], 2)]
)
def test_half_of_the_evidence_lies_in_the_fewest_cells(values, cells):
    assert half_cells(np.array(values, float)) == cells


def test_caveats_name_what_limits_the_reading():
    part = fix_section(context(inverted=Row(FIX, unstable=True, contribution_residual=0.05)))
    assert part is not None
    assert len(part.caveats) == 2
    assert answer.caveats(Row(ERROR, notes=["PNG named .jpg"])) == ["Reading the file: PNG named .jpg."]
    fine = fix_section(context(inverted=FIX))
    assert fine is not None
    assert fine.caveats == []
    approximate = evidence(context(cam=Row(status="ok", exact=False)))
    assert approximate is not None
    assert "approximate" in approximate.caveats[0]
