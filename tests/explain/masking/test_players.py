"""Image games: pixels hidden, tokens left out, passes counted."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import timm
import torch
from tests.contract.nets import build
from torch import Tensor, nn

from whywrong.core.access import Access
from whywrong.core.errors import AccessError, InputError, ModelError, NonFiniteError
from whywrong.core.input_spec import InputSpec
from whywrong.core.randomness import keyed_uniform, row_keys
from whywrong.explain.interactions.estimators import InteractionsConfig, estimate
from whywrong.explain.interactions.pairs import near_pairs
from whywrong.explain.masking.pixels import PixelCells, default_grid
from whywrong.explain.masking.players import ImageGame, PlayersConfig
from whywrong.explain.masking.tokens import CannotDropTokens, PatchTokens
from whywrong.explain.masking.values import ValueFunction, class_values
from whywrong.models.classifier import Classifier
from whywrong.models.loading.loaded import ModelRequest
from whywrong.models.loading.planted import load_planted

SIDE = 32


def images(count: int, side: int = SIDE) -> Tensor:
    return keyed_uniform(row_keys(3, count), (3, side, side))


def small_vit(**changes) -> nn.Module:
    """A random transformer of 4 x 4 patches whose head tells images apart."""
    from timm.models.deit import VisionTransformerDistilled
    from timm.models.vision_transformer import VisionTransformer

    kind = VisionTransformerDistilled if changes.pop("distilled", False) else VisionTransformer
    settings = {"img_size": SIDE, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3, "num_classes": 5}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        vit = kind(**{**settings, **changes})
        for parameter in vit.parameters():
            nn.init.normal_(parameter, std=0.3)
    return vit.eval()


TRANSFORMERS: dict[str, Callable[[], nn.Module]] = {
    "class token": small_vit,
    "distilled": lambda: small_vit(distilled=True),
    "registers": lambda: small_vit(reg_tokens=2, no_embed_class=True),
    "mean pooling": lambda: small_vit(class_token=False, global_pool="avg"),
    "norm before": lambda: small_vit(pre_norm=True),
    "attention pooling": lambda: small_vit(class_token=False, global_pool="map"),
}


def by_hand(vit: nn.Module, x: Tensor, keep: list[int]) -> Tensor:
    """Logits (K,) of one image with some patch tokens, its attention told to look at no others."""
    with torch.no_grad():
        tokens = vit._pos_embed(vit.patch_embed(x[None]))  # (1, T, D)
        prefix = vit.num_prefix_tokens
        tokens = torch.cat([tokens[:, :prefix], tokens[:, [prefix + i for i in keep]]], 1)
        return vit.forward_head(vit.norm(vit.blocks(vit.norm_pre(tokens))))[0]


# Tokens.


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_with_all_tokens_kept_the_scores_are_those_of_the_plain_forward(name):
    vit, x = TRANSFORMERS[name](), images(3)
    shown = PatchTokens(Classifier(vit), x)
    with torch.no_grad():
        plain = vit(x)
    torch.testing.assert_close(shown.full, plain, atol=1e-5, rtol=1e-5)
    all_kept = shown.logits(torch.ones(3, 16, dtype=torch.bool), torch.arange(3))
    torch.testing.assert_close(all_kept, plain, atol=1e-5, rtol=1e-5)
    assert float((plain[0] - plain[1]).abs().max()) > 1e-3  # it tells images apart


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_sets_of_many_sizes_get_the_answers_of_each_alone(name):
    vit, x = TRANSFORMERS[name](), images(2)
    shown = PatchTokens(Classifier(vit, batch_size=3), x)
    keep = [[1, 5], [0], [15, 2, 3], [4, 9], list(range(16)), [7]]
    rows = torch.tensor([0, 1, 1, 0, 1, 0])
    masks = torch.zeros(6, 16, dtype=torch.bool)
    for mask, kept in zip(masks, keep, strict=True):
        mask[kept] = True
    found = shown.logits(masks, rows)
    for number, kept in enumerate(keep):
        expected = by_hand(vit, x[rows[number]], sorted(kept))
        torch.testing.assert_close(found[number], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_no_tokens_at_all_give_finite_scores_that_know_nothing_of_the_image(name):
    shown = PatchTokens(Classifier(TRANSFORMERS[name]()), images(2))
    found = shown.logits(torch.zeros(2, 16, dtype=torch.bool), torch.arange(2))
    assert found.isfinite().all()
    torch.testing.assert_close(found[0], found[1])


def test_players_may_be_blocks_of_tokens():
    shown = PatchTokens(Classifier(small_vit()), images(1), grid=2)
    whole = PatchTokens(Classifier(small_vit()), images(1))
    block = torch.tensor([[False, True, False, False]])  # above, on the right
    tokens = torch.zeros(1, 16, dtype=torch.bool)
    tokens[0, [2, 3, 6, 7]] = True
    row = torch.zeros(1, dtype=torch.int64)
    torch.testing.assert_close(shown.logits(block, row), whole.logits(tokens, row))


def test_a_transformer_behind_a_normalisation_of_its_own_is_found():
    vit = small_vit()
    wrapped = nn.Sequential(nn.BatchNorm2d(3), vit).eval()
    shown = PatchTokens(Classifier(wrapped), images(2))
    with torch.no_grad():
        torch.testing.assert_close(shown.full, wrapped(images(2)), atol=1e-5, rtol=1e-5)


class Louder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.vit = small_vit()

    def forward(self, x: Tensor) -> Tensor:
        return 2 * self.vit(x)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: build("gap"), "no transformers"),
        (lambda: nn.ModuleList([small_vit(), small_vit()]), "2 transformers"),
        (Louder, "differ from those of the plain forward"),
        (lambda: load_planted(ModelRequest(name="vit")).model, "hybrid stem"),
    ],
)
def test_models_whose_tokens_cannot_be_left_out_are_named_with_the_reason(make, reason):
    classifier = Classifier(make())
    with pytest.raises(CannotDropTokens, match=reason):
        PatchTokens(classifier, images(1))
    assert classifier.forwards == 0  # the probe is no query


def test_windowed_and_rotary_transformers_fall_back_to_pixels_and_say_so():
    swin = timm.create_model(
        "swin_tiny_patch4_window7_224", img_size=SIDE, window_size=4, embed_dim=12, depths=(1, 1), num_heads=(1, 1),
        num_classes=4,
    )  # fmt: skip
    classifier = Classifier(swin)
    game = ImageGame(classifier, images(2), torch.tensor([0, 1]), config=PlayersConfig(grid=4))
    assert game.kind == "pixels"
    assert "SwinTransformer holds no transformers" in str(game.fallback)
    assert "cells of pixels" in str(game.fallback)


def test_a_grid_that_splits_tokens_falls_back_to_pixels():
    game = ImageGame(Classifier(small_vit()), images(1), torch.tensor([0]), config=PlayersConfig(grid=8))
    assert (game.kind, game.players) == ("pixels", 64)
    assert "divides 4 x 4" in str(game.fallback)
    with pytest.raises(InputError, match="4 x 4"):
        ImageGame(Classifier(small_vit()), images(1), torch.tensor([0]), config=PlayersConfig(kind="tokens", grid=8))


# Pixels.


@pytest.mark.parametrize("baseline", ["image_mean", "data_mean", "blur", "inpainted"])
def test_a_cell_changes_its_own_pixels_only_and_all_cells_give_the_image(baseline):
    spec = InputSpec(height=SIDE, width=SIDE, mean=(0.4, 0.5, 0.6), std=(1.0, 1.0, 1.0))
    x = images(2)
    shown = PixelCells(Classifier(build("gap"), preprocess=spec), x, 4, baseline)
    assert torch.equal(shown.masked(torch.ones(2, 16, dtype=torch.bool), torch.arange(2)), x)
    mask = torch.ones(1, 16, dtype=torch.bool)
    mask[0, 6] = False  # row 1, column 2
    changed = (shown.masked(mask, torch.tensor([1]))[0] != x[1]).any(0).nonzero()
    assert changed.amin(0).tolist() == [8, 16]
    assert changed.amax(0).tolist() == [15, 23]
    hidden = shown.masked(torch.zeros(2, 16, dtype=torch.bool), torch.arange(2))
    assert torch.equal(hidden, shown.baseline_image)
    assert hidden.min() >= 0
    assert hidden.max() <= 1


def test_baselines_are_what_they_say():
    spec = InputSpec(height=SIDE, width=SIDE, mean=(0.4, 0.5, 0.6), std=(1.0, 1.0, 1.0))
    classifier, x = Classifier(build("gap"), preprocess=spec), images(2)
    mean = PixelCells(classifier, x, 4).baseline_image
    torch.testing.assert_close(mean[:, :, 5, 7], x.mean((2, 3)))
    data = PixelCells(classifier, x, 4, "data_mean").baseline_image
    assert data[1, :, 3, 3].tolist() == pytest.approx([0.4, 0.5, 0.6])
    blurred = PixelCells(classifier, x, 4, "blur").baseline_image
    assert blurred.var() < 0.1 * x.var()
    with pytest.raises(InputError, match="no mean colour"):
        PixelCells(Classifier(build("gap")), x, 4, "data_mean")


def test_cells_like_the_baseline_are_counted():
    x = torch.full((2, 3, SIDE, SIDE), 0.5)
    x[1, :, :8, :8] = 0.9
    x[1, :, -8:, -8:] = 0.1
    assert PixelCells(Classifier(build("gap")), x, 4).near_baseline().tolist() == [1.0, 14 / 16]


def test_hidden_cells_are_filled_from_the_visible_ones_of_the_same_set():
    x = torch.zeros(1, 3, SIDE, SIDE)
    x[:, 0, :, : SIDE // 2] = 1.0  # red on the left, black on the right
    shown = PixelCells(Classifier(build("gap")), x, 4, "inpainted")
    masks = torch.ones(2, 16, dtype=torch.bool)
    masks[0, 4] = False  # in the red half, among red cells
    masks[1, ::4] = masks[1, 1::4] = False  # all of the red half
    filled = shown.masked(masks, torch.zeros(2, dtype=torch.int64))
    assert float(filled[0, 0, 8:16, :4].min()) == 1.0  # red again: the whole pixel blocks around are red
    assert float(filled[1].max()) == 0.0  # nothing of the red half leaks through
    assert shown.near_baseline().shape == (1,)
    assert (
        float(
            PixelCells(
                Classifier(build("gap")), x[:, :1].expand(-1, 3, -1, -1) * 0 + 0.5, 4, "inpainted"
            ).near_baseline()
        )
        == 1
    )


def test_the_game_says_what_hides_its_cells_and_how_many_look_the_same():
    x, y = torch.full((2, 3, SIDE, SIDE), 0.5), torch.tensor([0, 1])
    x[1, :, :8, :8] = 0.9
    game = ImageGame(Classifier(build("gap")), x, y, config=PlayersConfig(grid=4, baseline="blur"))
    assert game.baseline == "blur"
    assert game.near_baseline()[0] == 1
    assert game.near_baseline()[1] < 1
    tokens = ImageGame(Classifier(small_vit()), images(2), y)
    assert tokens.baseline is None
    assert tokens.near_baseline() is None


def test_cells_need_not_be_square_but_must_divide_the_image():
    x = keyed_uniform(row_keys(0, 1), (3, 16, 24))
    assert PixelCells(Classifier(build("gap")), x, 8).players == 64
    for grid, message in ((5, "2, 4, 8"), (1, "at least 2"), (2.0, "at least 2")):
        with pytest.raises(InputError, match=message):
            PixelCells(Classifier(build("gap")), x, grid)
    assert default_grid(224, 224) == 16
    assert default_grid(32, 48) == 16
    with pytest.raises(InputError, match="resize"):
        default_grid(17, 34)


# The game.


@pytest.mark.parametrize("make", [lambda: build("gap"), small_vit])
def test_values_are_those_of_the_masked_images_and_every_pass_is_counted(make):
    classifier, x = Classifier(make(), batch_size=7), images(3)
    functions = (ValueFunction(), ValueFunction(kind="margin", of="difference"))
    y = torch.tensor([0, 1, 2])
    game = ImageGame(classifier, x, y, functions=functions, config=PlayersConfig(grid=4))
    assert game.forwards.tolist() == [1, 1, 1]
    found = game(torch.ones(3, 5, 16, dtype=torch.bool))
    assert found.shape == (3, 5, 2)
    assert found.dtype == torch.float64
    assert game.names == ("log_odds_true", "margin_difference")
    assert game.forwards.tolist() == [6, 6, 6]
    assert classifier.forwards == 18
    expected = class_values(classifier.logits(x), y, game.target, functions)
    torch.testing.assert_close(found, expected[:, None].expand_as(found), atol=1e-4, rtol=1e-4)


def test_the_other_class_is_the_predicted_one_or_the_runner_up():
    classifier, x = Classifier(build("gap")), images(2)
    order = classifier.logits(x).argsort(1, descending=True)
    y = torch.stack([order[0, 0], order[1, 3]])  # the first image is right, the second wrong
    assert ImageGame(classifier, x, y).target.tolist() == [int(order[0, 1]), int(order[1, 0])]
    given = torch.stack([order[0, 2], order[1, 2]])
    assert ImageGame(classifier, x, y, target=given).target.tolist() == given.tolist()


@pytest.mark.parametrize("make", [lambda: build("gap"), small_vit])
def test_an_estimate_does_not_depend_on_batch_size_or_neighbours(make):
    x, y, keys = images(3), torch.tensor([0, 1, 2]), row_keys(5, 3)
    config = InteractionsConfig(contexts=3, orders=(0, 4, 14), permutations=4)
    players = PlayersConfig(grid=4)
    whole = estimate(ImageGame(Classifier(make()), x, y, config=players), near_pairs(4, 4), keys=keys, config=config)
    split = ImageGame(Classifier(make(), batch_size=5), x[1:2], y[1:2], config=players)
    alone = estimate(split, near_pairs(4, 4), keys=keys[1:2], config=config)
    torch.testing.assert_close(alone.mean[0], whole.mean[1], atol=1e-4, rtol=0, equal_nan=True)
    torch.testing.assert_close(alone.U[0], whole.U[1], atol=1e-4, rtol=1e-4)
    assert alone.forwards[0] == whole.forwards[1]


def test_model_and_images_are_left_as_they_were():
    for net in (build("gap"), small_vit()):
        net.train()
        x, state = images(2), {name: value.clone() for name, value in net.state_dict().items()}
        before, random_state = x.clone(), torch.get_rng_state()
        game = ImageGame(Classifier(net), x, torch.tensor([0, 1]), config=PlayersConfig(grid=4))
        estimate(game, near_pairs(4, 4, 1), config=InteractionsConfig(contexts=2, orders=(3,), permutations=0))
        assert torch.equal(x, before)
        assert torch.equal(torch.get_rng_state(), random_state)
        assert all(part.training for part in net.modules())
        assert all(parameter.requires_grad for parameter in net.parameters())
        assert not any(part._forward_hooks for part in net.modules())
        assert all(torch.equal(state[name], value) for name, value in net.state_dict().items())


class Fragile(nn.Module):
    """Infinite logits where the upper left pixel is hidden."""

    def forward(self, x: Tensor) -> Tensor:
        z = x.mean((2, 3))
        return torch.where((x[:, :1, 0, 0] == 1), z, z / 0)


def test_a_model_of_one_logit_has_that_logit_as_its_log_odds():
    class OneLogit(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 8 * (x[:, :1, :16].mean((2, 3)) - 0.5)

    x = images(2)
    game = ImageGame(Classifier(OneLogit(), output="binary"), x, torch.tensor([1, 0]), config=PlayersConfig(grid=4))
    found = game(torch.ones(2, 1, 16, dtype=torch.bool))[:, 0]
    z = OneLogit()(x)[:, 0].double()
    torch.testing.assert_close(found[:, 0], torch.stack([z[0], -z[1]]), atol=1e-6, rtol=1e-6)
    assert game.target.tolist() == [0, 1]


def test_a_model_that_says_the_same_of_all_images_has_no_interactions():
    class Constant(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.tensor([[1.0, 2.0, 0.5]]).expand(len(x), -1)

    game = ImageGame(Classifier(Constant()), images(2), torch.tensor([0, 1]), config=PlayersConfig(grid=4))
    config = InteractionsConfig(contexts=4, orders=(0, 7, 14), precision=0.1)
    found = estimate(game, near_pairs(4, 4, 1), config=config)
    assert float(found.A.abs().max()) == float(found.U.abs().max()) == float(found.noise_share.max()) == 0
    assert found.J.isnan().all()
    assert found.reached.all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_refused_where_it_rounds_interactions_away(dtype):
    class Smooth(nn.Module):
        def __init__(self, offset: float) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.tensor(4.0))
            self.offset = offset

        def forward(self, x: Tensor) -> Tensor:
            brightness = self.weight * x.mean((1, 2, 3)).square()
            return torch.stack([brightness + self.offset, torch.zeros_like(brightness)], 1)

    x, y = images(2), torch.tensor([0, 1])
    net = Smooth(30.0).to(dtype)
    classifier = Classifier(net)
    with pytest.raises(ModelError, match=f"{str(dtype)[6:]} interactions of order .* load the model in float32"):
        ImageGame(classifier, x, y, config=PlayersConfig(grid=4))
    assert net.weight.dtype == dtype
    ImageGame(Classifier(Smooth(30.0)), x, y, config=PlayersConfig(grid=4))


def test_half_precision_that_agrees_with_float32_is_taken_and_its_probe_is_no_query():
    class Steps(nn.Module):
        """Whole numbers, which half precision holds exactly."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.tensor(1.0))

        def forward(self, x: Tensor) -> Tensor:
            score = self.weight * (x[:, 0, 4::8, 4::8] > 0.4).sum((1, 2)).square().to(x.dtype)
            return torch.stack([score, torch.zeros_like(score)], 1)

    classifier = Classifier(Steps().half())
    game = ImageGame(classifier, images(2), torch.tensor([0, 1]), config=PlayersConfig(grid=4))
    assert game.forwards.tolist() == [1, 1]
    assert classifier.forwards == 2


def test_scores_that_are_not_finite_stop_with_image_and_players():
    x = images(2, 16)
    x[:, :, 0, 0] = 1
    game = ImageGame(Classifier(Fragile()), x, torch.tensor([0, 1]), config=PlayersConfig(grid=4))
    masks = torch.ones(2, 1, 16, dtype=torch.bool)
    game(masks)
    masks[1, 0, 0] = False
    with pytest.raises(NonFiniteError, match="image 1 with players"):
        game(masks)


@pytest.mark.parametrize(
    "change",
    [
        {"x": torch.zeros(3, 16, 16)},
        {"x": torch.zeros(0, 3, 16, 16), "y": torch.zeros(0, dtype=torch.int64)},
        {"x": torch.full((2, 3, 16, 16), torch.nan)},
        {"x": torch.full((2, 3, 16, 16), 1.5)},
        {"y": torch.tensor([0])},
        {"y": torch.tensor([0, 4])},
        {"y": torch.tensor([0.0, 1.0])},
        {"target": torch.tensor([0, 9])},
        {"functions": ()},
        {"config": PlayersConfig(grid=5)},
    ],
)
def test_wrong_input_is_refused(change):
    good = {"x": images(2, 16), "y": torch.tensor([0, 1])}
    arguments = {**good, **change}
    with pytest.raises(InputError):
        ImageGame(Classifier(build("gap")), arguments.pop("x"), arguments.pop("y"), **arguments)


def test_a_classifier_of_labels_only_is_refused():
    with pytest.raises(AccessError):
        ImageGame(Classifier(build("gap"), access=Access.LABELS), images(1, 16), torch.tensor([0]))


@pytest.mark.parametrize(
    "settings",
    [{"kind": "patches"}, {"grid": 1}, {"grid": True}, {"baseline": "black"}, {"blur_sigma": 0.0}],
)
def test_wrong_settings_are_refused(settings):
    with pytest.raises(InputError, match=r"players\."):
        PlayersConfig(**settings)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("make", [lambda: build("gap"), small_vit])
def test_an_estimate_on_a_gpu_is_that_of_the_cpu(make):
    x, y = images(2), torch.tensor([0, 1])
    config = InteractionsConfig(contexts=3, orders=(0, 4, 14), permutations=4)
    found = []
    for device in ("cpu", "cuda"):
        classifier = Classifier(make().to(device))
        game = ImageGame(classifier, x.to(device), y.to(device), config=PlayersConfig(grid=4))
        found.append(estimate(game, near_pairs(4, 4).to(device), config=config))
    torch.testing.assert_close(found[0].mean, found[1].mean, atol=5e-3, rtol=0, equal_nan=True)
