"""Rendered pictures whose class, object, parts, cues and concepts are known exactly."""

from __future__ import annotations

from whywrong.data.planted.concepts import concept_masks
from whywrong.data.planted.objects import NAMES, TWINS
from whywrong.data.planted.render import render
from whywrong.data.planted.scene import CUES, PART_NAMES, STYLES, Pictures, Scene, make_scene, ordinary_scene
from whywrong.data.planted.sets import SETS, PictureSet, open_set

__all__ = [
    "CUES",
    "NAMES",
    "PART_NAMES",
    "SETS",
    "STYLES",
    "TWINS",
    "PictureSet",
    "Pictures",
    "Scene",
    "concept_masks",
    "make_scene",
    "open_set",
    "ordinary_scene",
    "render",
]
