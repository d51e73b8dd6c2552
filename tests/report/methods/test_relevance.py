"""Relevance in the report: an overlay of its own scale, what constants hold, and refusals by reason."""

from __future__ import annotations

import numpy as np
import torch
from tests.explain.relevance.nets import Residual, images, seeded
from tests.report.methods.context import context, plain

from whywrong.explain.relevance import relevance
from whywrong.models.classifier import Classifier
from whywrong.report import plot
from whywrong.report.methods.relevance import section
from whywrong.report.tables import Row

FOUND = Row(
    status="ok", reason=None, rule="gamma", first="z_box", attention="attn", contrast="pair", unit="logits", target=1,
    residual=1e-6, bias=0.2, softmax=0.0, bias_true=0.1, evidence=1.5, overlap=0.25, rows=8, cols=8, forwards=1,
    backwards=2,
)  # fmt: skip


def built(difference: np.ndarray | None = None, **changes):
    made = context(relevance=Row(FOUND, **changes))
    if difference is not None:
        made.tables.run.stored[("relevance", "0")] = {"difference": difference}
    found = section(made)
    assert found is not None
    return found


def test_the_sentence_says_what_share_of_the_cells_both_classes_use():
    found = plain(built().sentences).replace("\u00a0", " ")
    assert found.startswith("25 % of the cells with the most relevance for ")
    assert " are also among those with the most relevance for envelope." in found


def test_the_difference_lies_over_the_photograph_and_a_flat_one_does_not():
    (overlay,) = built(np.eye(8, dtype=np.float32)).overlays
    assert overlay.image.startswith("data:image/png")
    assert built(np.zeros((8, 8), np.float32)).overlays == []


def test_a_map_that_constants_mostly_hold_is_qualified():
    assert built().caveats == []
    assert "Constants such as biases have" in built(bias=0.9).caveats[0]
    assert any(name == "in softmaxes" for name, *_ in built(softmax=0.4).blocks[0].rows)


def test_a_refused_map_gives_its_reason_and_nothing_else():
    found = built(np.eye(8, dtype=np.float32), status="refused", reason="relevance is not conserved")
    assert found.sentences == []
    assert found.overlays == []
    assert found.blocks[0].rows[0][2] == "relevance is not conserved"


def test_the_figure_draws_three_maps_for_each_image():
    x = images(2)
    found = relevance(Classifier(seeded(Residual, True)), x, torch.tensor([0, 1]))
    assert len(plot(found, x).axes) == 8
