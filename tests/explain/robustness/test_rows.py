"""The rows of a comparison on models whose robustness is known."""

from __future__ import annotations

import pytest
import torch
from tests.explain.robustness.toys import SIDE, Brightness, Constant, call, images, model

from whywrong.core.access import Access
from whywrong.core.errors import InputError
from whywrong.core.registry import resolve
from whywrong.explain.robustness import ROWS, attacks, patches
from whywrong.explain.robustness import images as whole
from whywrong.explain.robustness.parts import RowMissing

EASY = {
    "patch_corruptions": ("fog",),
    "corruptions": ("fog", "jpeg_compression"),
    "eps": 0.1,
    "eps_l2": 1.0,
    "steps": 5,
    "apgd_steps": 8,
    "patch_steps": 5,
    "draws": 2,
    "positions": 3,
}


def rate(part) -> float:
    return float(part.fooled.double().mean())


WITHOUT_ATTENTION = [kind for kind in ROWS if kind.access < Access.INTERNALS]


@pytest.mark.parametrize("kind", WITHOUT_ATTENTION, ids=lambda kind: kind.name)
def test_no_row_fools_a_model_that_ignores_the_image(kind):
    x, _ = images()
    for part in resolve(kind.function)(call([model(Constant())], x=x, y=torch.zeros(8, dtype=torch.int64), **EASY)):
        assert rate(part) == 0
        assert part.predicted.shape == part.fooled.shape == (8, len(part.trials))


def test_an_attack_fools_exactly_where_the_margin_is_within_its_radius():
    net = [model(Brightness())]  # the mean of the pixels must move by 0.2
    for row in (attacks.pgd_linf, attacks.apgd_linf):
        assert rate(row(call(net, eps=0.21, steps=10))[0]) == 1
        assert rate(row(call(net, eps=0.19, steps=10))[0]) == 0
    length = 0.2 * (3 * SIDE * SIDE) ** 0.5
    for row in (attacks.pgd_l2, attacks.apgd_l2):
        assert rate(row(call(net, eps_l2=1.05 * length, steps=20))[0]) == 1
        assert rate(row(call(net, eps_l2=0.95 * length, steps=20))[0]) == 0


def test_a_targeted_attack_counts_only_its_target():
    (part,) = attacks.pgd_linf_targeted(call([model(Brightness())], eps=0.21, steps=10))
    assert part.fooled.all()  # of two classes the other one is the target
    (part,) = attacks.pgd_linf_targeted(call([model(Brightness())], eps=0.19, steps=10))
    assert not part.fooled.any()


def test_the_vote_attack_needs_a_capsule_network_and_fools_one():
    with pytest.raises(InputError, match="makes no votes"):
        attacks.vote_linf(call([model(Brightness())]))
    from whywrong.models.loading.zoo import load_classifier

    capsules = load_classifier("planted:capsnet")
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    (part,) = attacks.vote_linf(call([capsules], x=x, y=capsules.predict(x), eps=0.2, steps=5))
    assert part.fooled.any()


def test_random_noise_has_the_size_of_the_attack():
    seen = []

    class Looking(Brightness):
        def forward(self, x):
            seen.append(x.clone())
            return super().forward(x)

    x, _ = images()
    whole.noise_linf(call([model(Looking())], eps=0.1, draws=2))
    assert all(torch.allclose((one - x).abs(), torch.full_like(x, 0.1), atol=1e-6) for one in seen)
    assert not torch.equal(seen[0], seen[1])
    seen.clear()
    whole.noise_l2(call([model(Looking())], eps_l2=0.5, draws=1))
    assert torch.allclose((seen[0] - x).flatten(1).norm(dim=1), torch.full((8,), 0.5), atol=1e-3)


def test_the_patch_lies_on_its_place_and_leaves_all_other_pixels_as_they_were():
    x = torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    paint = torch.ones(2, 3, 8, 8)
    changed = patches.pasted(x, paint, (4, 16))
    inside = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    inside[4:12, 16:24] = True
    assert torch.equal(changed[:, :, ~inside], x[:, :, ~inside])
    assert (changed[:, :, inside] == 1).all()


def test_an_adversarial_patch_fools_only_where_the_model_looks():
    """The model reads one cell of the grid; a patch there turns it, a patch elsewhere cannot."""
    net = [model(Brightness(slice(8, 16), slice(16, 24)))]
    parts = {part.name: part for part in patches.adversarial(call(net, positions=None, patch_steps=10))}
    attack = parts["patch_adversarial"]
    assert [name for name, hit in zip(attack.trials, attack.fooled.all(0).tolist(), strict=True) if hit] == [
        "row 8, column 16"
    ]
    assert attack.fooled.sum() == len(attack.fooled)
    # Moved to the next cell it no longer covers what the model looks at, except from the cell before.
    assert parts["patch_moved"].fooled[:, attack.trials.index("row 8, column 16")].sum() == 0


def test_patches_are_shown_to_every_other_model():
    nets = [model(Brightness(), "a"), model(Constant(), "b"), model(Brightness(gain=20), "c")]
    parts = [part for part in patches.adversarial(call(nets, 1, **EASY)) if part.name == "patch_transfer"]
    assert [(part.source, part.model) for part in parts] == [(1, 0), (1, 2)]


def test_positions_are_distinct_cells_and_the_same_for_a_seed():
    drawn = patches.positions(SIDE, SIDE, 8, 5, 0)
    assert len(set(drawn)) == 5
    assert all(row % 8 == col % 8 == 0 and max(row, col) <= SIDE - 8 for row, col in drawn)
    assert drawn == patches.positions(SIDE, SIDE, 8, 5, 0) != patches.positions(SIDE, SIDE, 8, 5, 1)
    assert len(patches.positions(SIDE, SIDE, 8, None, 0)) == 16


SIDES = [((None, 224, 224, 16), 32), ((None, 32, 32, 4), 4), ((None, 48, 48, 0), 7), ((5, 32, 32, 4), 5)]


@pytest.mark.parametrize(("sizes", "expected"), SIDES)
def test_the_patch_is_a_seventh_of_the_side_in_whole_tokens(sizes, expected):
    assert patches.patch_side(*sizes) == expected


def test_a_patch_larger_than_the_image_is_refused():
    with pytest.raises(InputError, match="33 x 33 pixels does not fit into images of 32 x 40"):
        patches.patch_side(33, 32, 40, 0)


@pytest.fixture(scope="module")
def vit():
    """A small transformer with random weights."""
    from timm.models.vision_transformer import VisionTransformer

    torch.manual_seed(0)
    sizes = {"img_size": SIDE, "patch_size": 8, "embed_dim": 12, "depth": 2, "num_heads": 2, "num_classes": 2}
    return model(VisionTransformer(**sizes).eval())


def test_the_attention_on_all_cells_sums_to_one_and_no_cell_gets_more_than_its_cells(vit):
    (part,) = patches.noise(call([vit], positions=None))
    assert torch.allclose(part.clean_mass.sum(1), torch.ones(8), atol=1e-5)
    assert torch.allclose(part.clean_mass, torch.full((8, 16), 1 / 16), atol=0.05)  # plain images, random weights
    assert not torch.equal(part.mass, part.clean_mass)
    (half,) = patches.noise(call([vit], side=16, positions=None))
    first = part.clean_mass.view(8, 4, 4)[:, :2, :2].sum((1, 2))
    assert torch.allclose(half.clean_mass[:, 0], first, atol=1e-5)


def test_each_temperature_has_its_own_clean_answers_and_attack(vit):
    parts = patches.temperature(call([vit], temperatures=(1.5, 3.0), **EASY))
    assert [(part.name, part.base) for part in parts] == [
        ("clean_t1.5", "clean_t1.5"),
        ("patch_adversarial_t1.5", "clean_t1.5"),
        ("clean_t3", "clean_t3"),
        ("patch_adversarial_t3", "clean_t3"),
    ]


def test_a_model_without_attention_has_no_share_on_the_patch():
    (part,) = patches.noise(call([model(Brightness())], positions=2))
    assert part.mass.isnan().all()
    assert patches.token_side(model(Brightness())) == 0


def test_smoothed_attention_needs_attention_and_temperatures():
    with pytest.raises(RowMissing, match="temperatures"):
        patches.temperature(call([model(Brightness())], temperatures=()))


def test_results_do_not_depend_on_the_batch():
    net = [model(Brightness(gain=3))]
    x = torch.rand(6, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(5)) * 0.2 + 0.4
    y = net[0].predict(x)
    together = call(net, x=x, y=y, **EASY | {"eps": 0.005})
    for row in (whole.affine_random, whole.noise_linf, attacks.pgd_linf, patches.noise, patches.natural):
        found = row(together)[0].predicted
        parts = []
        for at in range(6):
            alone = call(net, x=x[at : at + 1], y=y[at : at + 1], **EASY | {"eps": 0.005})
            object.__setattr__(alone, "keys", together.keys[at : at + 1])
            parts.append(row(alone)[0].predicted)
        assert torch.equal(torch.cat(parts), found)
