"""Near copies of one photograph count as one source."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from tests.verdicts.groups.made import pictures
from tests.verdicts.making import make

from whywrong.verdicts.stages.copies import with_shared_sources
from whywrong.verdicts.stages.units import Taken


def taken(shown: np.ndarray, name: str) -> Taken:
    n = len(shown)
    return Taken(np.arange(n), make(np.full(n, 0.3), name=name), {}, shown, np.full((n, 4), np.nan))


def stored_again(picture: np.ndarray, times: int) -> np.ndarray:
    """A photograph stored with slightly different pixels."""
    random = np.random.default_rng(0)
    noise = random.integers(-4, 5, (times, *picture.shape))
    return (picture.astype(np.int64) + noise).clip(0, 255).astype(np.uint8)


def test_one_photograph_stored_twenty_times_is_one_source():
    others = pictures(10, seed=1)
    errors = taken(np.concatenate([stored_again(pictures(1)[0], 20), others]), "e")
    measured = with_shared_sources(errors, None).measured
    assert measured is not None
    assert len(set(measured.sources[:20])) == 1
    assert measured.sources[20:] == errors.measured.sources[20:]


def test_copies_of_a_correct_image_have_its_source():
    shown, correct = pictures(4), pictures(5, seed=2)
    shown[1] = stored_again(correct[3], 1)[0]
    measured = with_shared_sources(taken(shown, "e"), taken(correct, "r")).measured
    assert measured is not None
    assert measured.sources == ("e0", "r3", "e2", "e3")


def test_sources_do_not_depend_on_the_order_of_the_errors():
    errors = taken(np.concatenate([stored_again(pictures(1)[0], 3), pictures(3, seed=1)]), "e")
    turned = replace(errors, measured=errors.measured.at(np.arange(6)[::-1]), pictures=errors.pictures[::-1])
    assert (
        with_shared_sources(turned, None).measured.sources[::-1] == with_shared_sources(errors, None).measured.sources
    )


def test_without_pictures_nothing_is_shared():
    errors = replace(taken(pictures(3), "e"), pictures=np.zeros((3, 3, 0, 0), np.uint8))
    assert with_shared_sources(errors, None) is errors
