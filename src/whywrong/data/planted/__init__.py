"""The planted world: pictures that we draw, whose class, object, parts, cues and concepts are known exactly."""

from __future__ import annotations

from whywrong.data.planted.concepts import concept_masks
from whywrong.data.planted.objects import NAMES, TWINS
from whywrong.data.planted.render import render
from whywrong.data.planted.scene import CUES, PART_NAMES, STYLES, Pictures, Scene, make_scene

__all__ = [
    "CUES",
    "NAMES",
    "PART_NAMES",
    "STYLES",
    "TWINS",
    "Pictures",
    "Scene",
    "concept_masks",
    "make_scene",
    "render",
]
