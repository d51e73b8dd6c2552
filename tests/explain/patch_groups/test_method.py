"""Patch groups of images: small models whose groups are known, and all that can go wrong."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from tests.contract.nets import build
from tests.contract.nets import images as small_images
from tests.explain.patch_groups.nets import images, tiny_vit
from torch import Tensor, nn

from whywrong.core.config import make_config
from whywrong.core.errors import InputError
from whywrong.core.input_spec import InputSpec
from whywrong.explain.masking.tokens import CannotDropTokens
from whywrong.explain.patch_groups import PatchGroupsConfig, PatchGroupsResult, patch_groups
from whywrong.models.classifier import Classifier
from whywrong.report.drawing import plot

CELLS = 4  # a side; images of 16 x 16 pixels, cells of 4 x 4


class Votes(nn.Module):
    """Three classes; a logit is the sum over cells of the mean of red, green or blue, grey being zero."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3)) * CELLS**2


def painted(cells: dict[int, tuple[float, float, float]]) -> Tensor:
    """(1, 3, 16, 16): cells with votes for each class, all others grey."""
    x = torch.full((1, 3, CELLS, CELLS), 0.5)
    for cell, votes in cells.items():
        x[0, :, cell // CELLS, cell % CELLS] += torch.tensor(votes)
    return x.repeat_interleave(4, 2).repeat_interleave(4, 3)


@pytest.fixture
def wrong() -> tuple[Classifier, Tensor, Tensor]:
    """An image of class 0 that is read as class 1; cell 5 misleads, and grey hides cells."""
    spec = InputSpec(height=16, width=16, mean=(0.5, 0.5, 0.5), std=(1.0, 1.0, 1.0))
    votes = {1: (0.2, 0, 0), 2: (0.1, 0, 0), 5: (0, 0.45, 0), 7: (-0.1, 0.05, 0), 9: (0, 0, 0.25)}
    return Classifier(Votes(), preprocess=spec), painted(votes), torch.tensor([0])


def groups(classifier: Classifier, x: Tensor, y: Tensor, **options: object) -> PatchGroupsResult:
    config = PatchGroupsConfig(**{"grid": CELLS, "baseline": "data_mean", "kind": "pixels", **options})
    return patch_groups(classifier, x, y, config=config)


def test_the_groups_of_an_image_whose_votes_are_known(wrong):
    # votes: class 0 0.2, class 1 0.5, class 2 0.25
    row = groups(*wrong).to_arrow().to_pylist()[0]
    assert (row["status"], row["predicted"], row["target"]) == ("ok", 1, 1)
    assert row["insertion_order"] == [5]  # alone, it makes class 1 win
    assert (row["sufficient_size"], row["sufficient_area"]) == (1, 1 / 16)
    assert row["deletion_order"] == [5]
    assert (row["breaking_found"], row["broken_into"]) == (True, 2)  # 0.25 of class 2 beats 0.2 of class 0
    # z_0 - z_1 rises by 0.45 without cell 5, then by 0.15 without 7; that makes 0.3 for class 0, more than 0.25
    assert row["targeted_order"] == [5, 7]
    assert (row["targeted_size"], row["targeted_found"]) == (2, True)
    assert row["support_order"] == [1]  # the strongest vote for class 0 that is left
    assert (row["support_size"], row["support_found"]) == (1, True)


def test_values_are_the_log_odds_on_the_way(wrong):
    row = groups(*wrong, value="logit").to_arrow().to_pylist()[0]
    assert row["value"] == "logit"
    assert row["insertion_values"] == pytest.approx([0.0, 0.45], abs=1e-6)  # of class 1, nothing shown at first
    assert row["deletion_values"] == pytest.approx([0.5, 0.05], abs=1e-6)
    assert row["targeted_values"] == pytest.approx([-0.3, 0.15, 0.3], abs=1e-6)
    assert row["support_values"] == pytest.approx([0.3, 0.1], abs=1e-6)


def test_maps_show_the_order_from_one_down(wrong):
    maps = groups(*wrong).maps()
    assert set(maps) == {"sufficient", "breaking", "targeted"}
    heat = maps["targeted"][0]
    assert heat.shape == (CELLS, CELLS)
    assert (float(heat[1, 1]), float(heat[1, 3])) == (1.0, 0.5)
    assert int((heat > 0).sum()) == 2


def test_of_a_right_image_nothing_has_to_go_and_what_breaks_it_supports_it(wrong):
    classifier, x, _ = wrong
    row = groups(classifier, x, torch.tensor([1])).to_arrow().to_pylist()[0]
    assert (row["predicted"], row["target"]) == (1, 2)
    assert (row["targeted_order"], row["targeted_size"], row["targeted_found"]) == ([], 0, True)
    assert row["support_order"] == row["deletion_order"] == [5]
    assert (row["support_found"], row["sufficient_size"]) == (True, 1)


def test_a_group_that_is_not_found_within_the_limit_has_no_size(wrong):
    classifier, x, y = wrong
    row = groups(classifier, x, y, most=0.01).to_arrow().to_pylist()[0]  # one patch
    assert row["targeted_order"] == [5]
    assert (row["targeted_found"], row["targeted_size"], row["targeted_area"]) == (False, None, None)
    assert row["support_order"] is None


def test_the_same_steps_are_not_asked_for_twice(wrong):
    classifier, x, y = wrong
    result = groups(classifier, x, y)
    # the whole, nothing; 16 shown; 16 hidden for two groups, 15 for one; support starts where that ended: 1 + 14
    assert result.forwards.tolist() == [2 + 16 + 16 + 15 + 1 + 14]
    assert classifier.forwards == int(result.forwards.sum())


def test_tokens_are_left_out_where_the_model_can_and_the_fallback_is_named():
    x = images(2)
    classifier = Classifier(tiny_vit())
    y = (classifier.predict(x) + 1) % 5
    result = patch_groups(classifier, x, y)
    assert (result.players, result.fallback, result.rows, result.cols) == ("tokens", None, 4, 4)
    assert result.value == "log_odds"
    cnn = Classifier(build("gap"))
    other = patch_groups(cnn, small_images(2), torch.tensor([0, 1]))
    assert (other.players, other.rows) == ("pixels", 8)
    assert "no transformers" in other.fallback
    with pytest.raises(CannotDropTokens):
        patch_groups(cnn, small_images(2), torch.tensor([0, 1]), config=PatchGroupsConfig(kind="tokens"))


def test_groups_do_what_they_say():
    classifier, x = Classifier(tiny_vit()), images(12)
    logits = classifier.logits(x)
    y = logits.argsort(1, descending=True)[:, 1]
    result = patch_groups(classifier, x, y, config=PatchGroupsConfig(most=1))
    vit = classifier.module

    def answer(row: int, keep: list[int]) -> int:
        with torch.no_grad():
            tokens = vit._pos_embed(vit.patch_embed(x[row : row + 1]))[:, [0, *(1 + k for k in sorted(keep))]]
            return int(vit.forward_head(vit.norm(vit.blocks(vit.norm_pre(tokens)))).argmax())

    seen = 0
    for row, entry in enumerate(result.to_arrow().to_pylist()):
        everyone = set(range(16))
        shown, hidden = set(entry["insertion_order"]), set(entry["deletion_order"])
        assert answer(row, shown) == entry["predicted"]  # with all shown it wins at the latest
        if entry["breaking_found"]:
            assert answer(row, everyone - hidden) == entry["broken_into"] != entry["predicted"]
        if entry["targeted_found"]:
            seen += 1
            hidden = set(entry["targeted_order"])
            assert answer(row, everyone - hidden) == int(y[row])
            if entry["support_found"]:
                assert answer(row, everyone - hidden - set(entry["support_order"])) != int(y[row])
    assert seen > 2


# What goes wrong.


def test_a_constant_model_is_marked():
    class Constant(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.tensor([[0.0, 1.0, 0.5]]).expand(len(x), -1)

    result = patch_groups(Classifier(Constant()), small_images(2), torch.tensor([0, 1]))
    assert list(result.status) == ["refused"] * 2
    assert all("nothing to rank" in reason for reason in result.reason)
    assert all(heat.isnan().all() for heat in result.maps().values())


def test_an_image_that_equals_its_baseline_is_marked_and_its_neighbours_are_not():
    x = small_images(2)
    x[1] = 0.25
    result = patch_groups(Classifier(build("gap")), x, torch.tensor([0, 1]))
    assert list(result.status) == ["ok", "refused"]


class Faulty(nn.Module):
    """A net that fails on images with a bright pixel in the first or in the last cell."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.net, self.how = build("gap"), how

    def forward(self, x: Tensor) -> Tensor:
        bad = (x[:, 0, 0, 0] == 1) | (x[:, 0, -1, -1] == 1)
        if self.how == "raises" and bool(bad.any()):
            raise ValueError("too bright")
        return self.net(x).masked_fill(bad[:, None], torch.nan)


@pytest.mark.parametrize("how", ["raises", "NaN"])
def test_images_on_which_the_model_fails_are_refused_and_the_others_stay_as_they_are(how):
    x = small_images(5)
    y = torch.tensor([0, 1, 2, 3, 0])
    config = PatchGroupsConfig(grid=4)
    whole = patch_groups(Classifier(build("gap")), x, y, config=config).to_arrow().to_pylist()
    x[1, 0, 0, 0] = x[4, 0, -1, -1] = 1
    classifier = Classifier(Faulty(how))
    result = patch_groups(classifier, x, y, config=config)
    assert list(result.status) == ["ok", "refused", "ok", "ok", "refused"]
    assert ("too bright" if how == "raises" else "NaN") in result.reason[1]
    for row in (0, 2, 3):
        found = result.to_arrow().to_pylist()[row]
        assert found["targeted_order"] == whole[row]["targeted_order"]
        assert found["deletion_order"] == whole[row]["deletion_order"]
    if how == "NaN":
        assert int(result.forwards.sum()) == classifier.forwards


def test_only_the_rows_asked_for_are_explained():
    classifier = Classifier(build("gap"))
    x, y = small_images(3), torch.tensor([0, 1, 2])
    detail = torch.tensor([False, True, False])
    result = patch_groups(classifier, x, y, detail=detail)
    assert list(result.status) == ["skipped", "ok", "skipped"]
    assert result.forwards[[0, 2]].tolist() == [0, 0]
    assert result.to_arrow()["insertion_order"].to_pylist()[0] is None
    with pytest.raises(InputError, match="detail"):
        patch_groups(classifier, x, y, detail=detail[:2])


@pytest.mark.parametrize(
    "options",
    [
        {"most": 0},
        {"most": 1.5},
        {"most": "all"},
        {"grid": 1},
        {"grid": 2.5},
        {"kind": "superpixels"},
        {"baseline": "noise"},
        {"value": "odds"},
        {"mots": 0.5},
    ],
)
def test_bad_settings_are_refused(options):
    with pytest.raises(InputError):
        make_config(PatchGroupsConfig, options, "patch_groups")


def test_a_grid_that_does_not_divide_the_image_is_refused_with_those_that_do():
    with pytest.raises(InputError, match="these do: 2, 4, 8, 16"):
        patch_groups(Classifier(build("gap")), small_images(1), torch.tensor([0]), config=PatchGroupsConfig(grid=5))


def test_a_wrong_label_is_named_by_its_row_also_after_bad_pixels():
    x = small_images(3)
    x[0] = 2.0
    with pytest.raises(InputError, match="label 9 of row 2"):
        patch_groups(Classifier(build("gap")), x, torch.tensor([0, 1, 9]))


# Drawing.


def test_every_kind_of_row_is_drawn(wrong):
    classifier, x, _ = wrong
    x = torch.cat([x, x, x])
    x[2, 0, 0, 0] = torch.nan
    result = groups(classifier, x, torch.tensor([0, 1, 0]))
    figure = plot(result, x, rows=[0, 1, 2])
    titles = [axis.get_title() for axis in figure.axes]
    assert titles[:4] == [
        "image",
        "enough for class 1",
        "class 1 lost with these hidden",
        "with these hidden, the true class wins",
    ]
    assert figure.axes[1].get_xlabel() == "1 of 16 patches (6% of the area)"
    assert titles[-1].startswith("bad_input")
    limited = plot(groups(classifier, x, torch.tensor([0, 1, 0]), most=0.01), x, rows=[0])
    assert limited.axes[3].get_title() == "with these hidden, the true class still loses"
    assert limited.axes[3].get_xlabel() == "not found within 1 of 16 patches"


def test_results_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        PatchGroupsConfig().grid = 3  # type: ignore[misc]
