"""The renderer: exact knowledge, keyed randomness, one change at a time."""

from __future__ import annotations

import pytest
import torch

from whywrong.core.errors import InputError
from whywrong.core.randomness import row_keys
from whywrong.data.planted import CUES, NAMES, STYLES, TWINS, concept_masks, make_scene, render
from whywrong.data.planted.concepts import colour_names


@pytest.fixture(scope="module")
def scene():
    labels = torch.arange(12) % len(NAMES)
    return make_scene(row_keys(5, 12), labels)


@pytest.fixture(scope="module")
def plain(scene):
    return render(scene)


def test_same_key_gives_same_bytes_in_any_batch_and_order(scene, plain):
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    shuffled = render(scene[order])
    singles = torch.cat([render(scene[i : i + 5]).images for i in range(0, 12, 5)])
    assert torch.equal(shuffled.images, plain.images[order])
    assert torch.equal(shuffled.parts, plain.parts[order])
    assert torch.equal(singles, plain.images)


def test_another_key_gives_another_picture(scene, plain):
    other = render(make_scene(row_keys(6, 12), scene.label))
    assert (other.images != plain.images).flatten(1).float().mean(1).min() > 0.5


def test_every_object_is_seen_whole_and_in_parts(plain):
    area = plain.object.flatten(1).float().mean(1)
    assert area.min() > 0.01
    assert area.max() < 0.7
    assert all(len(parts.unique()) >= 4 for parts in plain.parts)  # background and at least three parts
    assert torch.equal(plain.object, plain.parts > 0)


def test_the_sticker_changes_no_pixel_outside_its_mask(scene, plain):
    marked = render(scene.but(cue=CUES.index("mark")))
    changed = (marked.images != plain.images).any(1)
    grown = torch.nn.functional.max_pool2d(marked.cue.float(), 5, 1, 2) > 0  # its soft edge, and the camera's blur
    assert marked.cue.flatten(1).float().mean(1).min() > 0.01
    assert not (changed & ~grown).any()
    assert (changed & marked.cue).sum() > 0.9 * marked.cue.sum()


@pytest.mark.parametrize("cue", range(len(CUES)))
def test_a_cue_has_a_mask_and_leaves_the_class_alone(scene, plain, cue):
    cued = render(scene.but(cue=cue))
    assert cued.cue.flatten(1).any(1).all()
    assert not plain.cue.any()


def test_covering_more_leaves_less_of_the_object(scene, plain):
    areas = [render(scene.but(covered=share)).object.sum().item() for share in (0.0, 0.3, 0.6, 0.9)]
    assert areas[0] == plain.object.sum()
    assert areas == sorted(areas, reverse=True)
    assert areas[-1] < 0.3 * areas[0]


def test_shrinking_and_moving_out_leave_less_of_the_object(scene, plain):
    assert render(scene.but(shrink=0.5)).object.sum() < 0.4 * plain.object.sum()
    assert render(scene.but(shift=1.0)).object.sum() < 0.02 * plain.object.sum()


@pytest.mark.parametrize(("more", "less"), TWINS)
def test_twins_differ_in_one_part_alone(more, less):
    keys = row_keys(9, 6)
    first = render(make_scene(keys, torch.full((6,), NAMES.index(more))))
    second = render(make_scene(keys, torch.full((6,), NAMES.index(less))))
    first_parts, second_parts = set(first.parts.unique().tolist()), set(second.parts.unique().tolist())
    assert second_parts < first_parts
    morphed = render(make_scene(keys, torch.full((6,), NAMES.index(more))).but(extent=0.0))
    assert torch.equal(morphed.images, second.images)


def test_a_second_object_stands_beside_the_first(scene):
    both = render(scene.but(second=(scene.label + 3) % len(NAMES)))
    assert both.second.flatten(1).float().mean(1).min() > 0.005
    assert not (both.second & both.object).any()


def test_styles_keep_the_object_where_it_was(scene, plain):
    for style in range(1, len(STYLES)):
        styled = render(scene.but(style=style))
        assert torch.equal(styled.object, plain.object)
        assert (styled.images != plain.images).float().mean() > 0.3


def test_the_silhouette_is_dark_on_the_object_and_light_beside_it(scene):
    styled = render(scene.but(style=STYLES.index("silhouette")))
    grey = styled.images.float().mean(1)
    assert grey[styled.object].mean() < 60
    assert grey[~styled.object].mean() > 200


def test_larger_pictures_show_the_same_scene(scene, plain):
    large = render(scene[:6], 128)
    assert large.images.shape == (6, 3, 128, 128)
    small = torch.nn.functional.avg_pool2d(large.object.float()[:, None], 2)[:, 0] > 0.5
    overlap = (small & plain.object[:6]).sum() / (small | plain.object[:6]).sum()
    assert overlap > 0.85


def test_concepts_are_exact(scene, plain):
    masks = concept_masks(scene, plain)
    assert {"part/handle", "part/wheels"} <= set(masks)
    mugs = scene.label == NAMES.index("mug")
    assert not masks["part/handle"][~mugs].any()
    colours = torch.stack([mask for name, mask in masks.items() if name.startswith("colour/")])
    assert torch.equal(colours.sum(0), plain.object.long())  # every pixel of the object has just one colour name


def test_colours_are_called_by_their_names():
    rgb = torch.tensor(
        [[0.9, 0.1, 0.1], [0.1, 0.7, 0.2], [0.15, 0.2, 0.9], [0.95, 0.93, 0.9], [0.1, 0.1, 0.1], [0.9, 0.8, 0.1]]
    )
    assert colour_names(rgb) == ["red", "green", "blue", "white", "black", "yellow"]


def test_bad_scenes_are_refused(scene):
    with pytest.raises(InputError, match=r"0\.\.11"):
        make_scene(row_keys(0, 1), torch.tensor([12]))
    with pytest.raises(InputError, match="64 or 128"):
        render(scene[:1], 65)
    assert len(render(scene[:0]).images) == 0
