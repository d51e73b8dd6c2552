"""Smallest change in a norm: a sentence in the unit of the norm, all norms in a block, no word about a cause."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.attacks.attack_nets import SmallNet
from tests.report.methods.context import context, plain

from whywrong.attacks.minimal import SmallestFixConfig, smallest_fix
from whywrong.models.classifier import Classifier
from whywrong.report import plot
from whywrong.report.methods.smallest_fix import PLACE, section
from whywrong.report.tables import Row

FOUND = Row(
    status="ok", reason=None, norm="l2", size=0.0241, l0=1024, l1=0.9, l2=0.0241, linf=0.002, groups=float("nan"),
    linear=0.022, margin_before=3.2, margin_after=-0.001, u8_fixed=True, u8_l0=300, u8_l2=0.09, u8_linf=1 / 255,
    unstable=False, forwards=36, backwards=28,
)  # fmt: skip


def built(**changes):
    found = section(context(smallest_fix=Row(FOUND, **changes)))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("norm", "words"),
    [
        ("l2", "In l2, a change of l2 norm 0.0241 turns the prediction into envelope."),
        ("l1", "In l1, a change of l1 norm 0.0241 turns the prediction into envelope."),
        ("l0", "In l0, changing 1,024 pixels turns the prediction into envelope."),
        ("linf", "In linf, changing each colour value by at most 0.51 grey levels turns the prediction into envelope."),
        ("groups", "In groups, a change of group norm 0.0241 turns the prediction into envelope."),
    ],
)
def test_the_sentence_has_the_unit_of_the_norm(norm, words):
    assert plain(built(norm=norm).sentences) == words


def test_the_block_has_every_norm_the_whole_grey_levels_and_the_cost():
    (block,) = built().blocks
    rows = {name: value.replace("\u00a0", " ") for name, value, _ in block.rows}
    assert rows["pixels changed (l0)"] == "1,024"
    assert rows["8-bit change"] == "yes, 1 grey level in 300 pixels"
    assert rows["cost"] == "36 forward and 28 backward passes"
    assert "group norm" not in rows
    assert "group norm" in {name for name, _, _ in built(groups=0.05).blocks[0].rows}
    assert dict(row[:2] for row in built(u8_fixed=False).blocks[0].rows)["8-bit change"] == "not found"


def test_the_stored_change_is_drawn_amplified_with_its_true_size():
    made = context(smallest_fix=FOUND)
    made.tables.run.stored[("smallest_fix", "0")] = {"change_u8": np.eye(8, dtype=np.float32)[None].repeat(3, 0)}
    found = section(made)
    assert found is not None
    (overlay,) = found.overlays
    assert "the real change is at most 1 grey level" in overlay.caption.replace("\u00a0", " ")


def test_what_was_not_found_or_not_asked_for_is_said_or_left_out():
    assert section(context(smallest_fix=Row(FOUND, status="skipped"))) is None
    missing = built(status="no_answer")
    assert missing.sentences == []
    assert missing.blocks[0].rows[0][2] == "no answer"
    assert built(unstable=True).caveats
    assert "says nothing about the cause" in PLACE


def test_a_figure_shows_the_image_the_changed_image_and_the_change():
    model, x = SmallNet(), torch.rand((2, 3, 8, 8), generator=torch.Generator().manual_seed(1))
    y = model(x).argmax(1)
    y[0] = (y[0] + 1) % 5
    result = smallest_fix(Classifier(model), x, y, config=SmallestFixConfig(norm="l0", budget=20))
    axes = plot(result, x).axes
    titles = [axis.get_title() for axis in axes]
    assert titles[:2] == ["image", "smallest change in l0"]
    assert titles[2].startswith("change ×")
    assert titles[4] == "no change found"
    assert "pixel" in axes[0].get_xlabel()
