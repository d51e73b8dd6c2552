"""Where counterfactuals put their change, on changes made by hand."""

from __future__ import annotations

import pytest
import torch

from whywrong.core.errors import InputError
from whywrong.explain.spurious.change_mass import class_change, mass_inside, mass_outside, medoids, strongest_crops


def changed_images(n: int = 24):
    """Half of the images gain a bright corner, half a dark bar in the middle; the object is the right half."""
    x = torch.full((n, 3, 16, 16), 0.5)
    moved = x.clone()
    moved[: n // 2, :, :4, :4] += 0.4
    moved[n // 2 :, :, 8:12, 4:12] -= 0.3
    objects = torch.zeros(n, 16, 16, dtype=torch.bool)
    objects[:, :, 8:] = True
    return x, moved, objects


def test_mass_inside_is_the_share_of_the_absolute_change():
    x = torch.zeros(2, 1, 2, 2)
    moved = torch.tensor([[[[1.0, 0.5], [0.0, 0.5]]], [[[0.0, 0.0], [0.0, 0.0]]]])
    mask = torch.tensor([[[True, False], [False, True]]] * 2)
    share = mass_inside(x, moved, mask)
    assert share[0] == pytest.approx(0.75)
    assert share[1].isnan()  # nothing changed


def test_mass_outside_is_unknown_where_no_object_is():
    x, moved, objects = changed_images()
    objects[0] = False
    outside = mass_outside(x, moved, objects)
    assert outside[0].isnan()
    assert outside[1] == pytest.approx(1.0)  # the corner
    assert outside[-1] == pytest.approx(0.5)  # half of the bar


def test_a_class_shows_its_common_changes_as_medoids():
    x, moved, objects = changed_images()
    found = class_change(x, moved, 3, objects=objects, side=4, clusters=2)
    assert (found.target, found.images, found.known) == (3, 24, 24)
    assert found.outside.value == pytest.approx(0.75)
    assert 0.5 < found.outside.low < 0.75 < found.outside.high < 1.0
    assert found.area == 0.5  # of an even change, half would lie outside
    assert found.members.tolist() == [12, 12]
    assert sorted((row < 12) for row in found.rows.tolist()) == [False, True]  # one medoid of each kind
    corner = int((found.rows < 12).nonzero())
    assert found.places[corner].tolist() == [0, 0]
    torch.testing.assert_close(found.crops[corner], torch.full((3, 4, 4), 0.9))
    torch.testing.assert_close(found.deltas[corner], torch.full((3, 4, 4), 0.4))
    torch.testing.assert_close(found.mean[0, 0], torch.tensor(0.6))  # 0.4 in 3 channels, on half of the images


def test_the_strongest_crop_holds_most_of_the_change():
    moved = torch.zeros(1, 10, 12)
    moved[0, 5:8, 7:10] = 1.0
    crops, places = strongest_crops(torch.arange(120.0).view(1, 1, 10, 12), moved, 3)
    assert places.tolist() == [[5, 7]]
    assert crops[0, 0, 0, 0] == 5 * 12 + 7


def test_medoids_are_members_of_their_groups():
    points = torch.tensor([[0.0], [0.1], [0.2], [5.0], [5.1]])
    rows, sizes = medoids(points, 2)
    assert rows.tolist() == [1, 3]
    assert sizes.tolist() == [3, 2]
    assert medoids(torch.zeros(4, 2), 3)[0].tolist() == [0]  # all alike: one group


def test_few_images_and_odd_shapes_are_refused():
    x, moved, _ = changed_images(10)
    with pytest.raises(InputError, match="at least 20"):
        class_change(x, moved, 0)
    with pytest.raises(InputError, match="must be alike"):
        mass_inside(x, moved[:, :1], torch.zeros(10, 16, 16, dtype=torch.bool))
    with pytest.raises(InputError, match="masks must be"):
        mass_inside(x, moved, torch.zeros(10, 8, 8, dtype=torch.bool))
