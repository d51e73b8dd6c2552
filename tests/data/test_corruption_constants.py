"""The strengths of corruptions, against the scripts that made ImageNet-C, Tiny-ImageNet-C and CIFAR-10-C.

Written out a second time from ``make_imagenet_c.py``, ``make_tinyimagenet_c.py`` and ``make_cifar_c.py`` of Hendrycks
and Dietterich 2019; zoom blur by the end of its range and its step, elastic transforms by the side they multiply.
"""

from __future__ import annotations

import pytest

from whywrong.data.corruptions.constants import STRENGTHS

NUMBERS = {
    "gaussian_noise": (".08 .12 .18 .26 .38", ".04 .08 .12 .15 .18", ".04 .06 .08 .09 .10"),
    "shot_noise": ("60 25 12 5 3", "250 100 50 30 15", "500 250 100 75 50"),
    "impulse_noise": (".03 .06 .09 .17 .27", ".01 .02 .05 .08 .14", ".01 .02 .03 .05 .07"),
    "speckle_noise": (".15 .2 .35 .45 .6", ".15 .2 .25 .3 .35", ".06 .1 .12 .16 .2"),
    "gaussian_blur": ("1 2 3 4 6", ".5 .75 1 1.25 1.5", ".4 .6 .7 .8 1"),
    "glass_blur": (
        ".7,1,2 .9,2,1 1,2,3 1.1,3,2 1.5,4,2",
        ".1,1,1 .5,1,1 .6,1,2 .7,2,1 .9,2,2",
        ".05,1,1 .25,1,1 .4,1,1 .25,1,2 .4,1,2",
    ),
    "defocus_blur": ("3,.1 4,.5 6,.5 8,.5 10,.5", ".5,.6 1,.1 1.5,.1 2.5,.01 3,.1", ".3,.4 .4,.5 .5,.6 1,.2 1.5,.1"),
    "motion_blur": ("10,3 15,5 15,8 15,12 20,15", "10,1 10,1.5 10,2 10,2.5 12,3", "6,1 6,1.5 6,2 8,2 9,2.5"),
    "zoom_blur": (
        "1.11,.01 1.16,.01 1.21,.02 1.26,.02 1.31,.03",
        "1.06,.01 1.11,.01 1.16,.01 1.21,.01 1.26,.01",
        "1.06,.01 1.11,.01 1.16,.01 1.21,.01 1.26,.01",
    ),
    "fog": ("1.5,2 2,2 2.5,1.7 2.5,1.5 3,1.4", ".4,3 .7,3 1,2.5 1.5,2 2,1.75", ".2,3 .5,3 .75,2.5 1,2 1.5,1.75"),
    "frost": (  # the third number is the factor by which the pictures of frost are made smaller: none, 0.3, 0.2
        "1,.4,1 .8,.6,1 .7,.7,1 .65,.7,1 .6,.75,1",
        "1,.3,.3 .9,.4,.3 .8,.45,.3 .75,.5,.3 .7,.55,.3",
        "1,.2,.2 1,.3,.2 .9,.4,.2 .85,.4,.2 .75,.45,.2",
    ),
    "snow": (
        ".1,.3,3,.5,10,4,.8 .2,.3,2,.5,12,4,.7 .55,.3,4,.9,12,8,.7 .55,.3,4.5,.85,12,8,.65 .55,.3,2.5,.85,12,12,.55",
        ".1,.2,1,.6,8,3,.8 .1,.2,1,.5,10,4,.8 .15,.3,1.75,.55,10,4,.7 .25,.3,2.25,.6,12,6,.65 .3,.3,1.25,.65,14,12,.6",
        ".1,.2,1,.6,8,3,.95 .1,.2,1,.5,10,4,.9 .15,.3,1.75,.55,10,4,.9 .25,.3,2.25,.6,12,6,.85 .3,.3,1.25,.65,14,12,.8",
    ),
    "spatter": (
        ".65,.3,4,.69,.6,0 .65,.3,3,.68,.6,0 .65,.3,2,.68,.5,0 .65,.3,1,.65,1.5,1 .67,.4,1,.65,1.5,1",
        ".62,.1,.7,.7,.6,0 .65,.1,.8,.7,.6,0 .65,.3,1,.69,.6,0 .65,.1,.7,.68,.6,1 .65,.1,.5,.67,.6,1",
        ".62,.1,.7,.7,.5,0 .65,.1,.8,.7,.5,0 .65,.3,1,.69,.5,0 .65,.1,.7,.69,.6,1 .65,.1,.5,.68,.6,1",
    ),
    "contrast": (".4 .3 .2 .1 .05", ".4 .3 .2 .1 .05", ".75 .5 .4 .3 .15"),
    "brightness": (".1 .2 .3 .4 .5", ".1 .2 .3 .4 .5", ".05 .1 .15 .2 .3"),
    "saturate": (".3,0 .1,0 2,0 5,.1 20,.2", ".3,0 .1,0 2,0 5,.1 30,.2", ".3,0 .1,0 1.5,0 2,.1 2.5,.2"),
    "jpeg_compression": ("25 18 15 10 7", "65 58 50 40 25", "80 65 58 50 40"),
    "pixelate": (".6 .5 .4 .3 .25", ".9 .8 .7 .6 .5", ".95 .9 .85 .75 .65"),
    "elastic_transform": (
        "2,.7,.1 2,.08,.2 .05,.01,.02 .07,.01,.02 .12,.01,.02",
        "0,0,.08 .05,.3,.06 .1,.08,.06 .1,.03,.03 .16,.03,.02",
        "0,0,.08 .05,.2,.07 .08,.06,.06 .1,.04,.05 .1,.03,.03",
    ),
}
SCALES = ("imagenet", "tiny-imagenet", "cifar")
ELASTIC = {"imagenet": 244, "tiny-imagenet": 64, "cifar": 32}  # 244, not 224, is what the first script says


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("kind", NUMBERS)
def test_strengths_are_the_published_ones(kind, scale):
    factor = ELASTIC[scale] if kind == "elastic_transform" else 1
    text = NUMBERS[kind][SCALES.index(scale)]
    expected = [tuple(factor * float(number) for number in one.split(",")) for one in text.split()]
    assert len(expected) == 5
    assert STRENGTHS[scale][kind] == tuple(pytest.approx(one) for one in expected)


def test_no_kind_is_without_published_numbers():
    assert {kind for table in STRENGTHS.values() for kind in table} == set(NUMBERS)
