"""Near copies of one photograph, which count as one source."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from whywrong.verdicts.groups.duplicates import number_photographs
from whywrong.verdicts.stages.units import Taken


def with_shared_sources(errors: Taken, correct: Taken | None) -> Taken:
    """Give near copies among errors one source, so that a photograph stored twenty times counts once.

    Copies of a correct image get its source, so that it is none of their nearest correct images.

    Args:
        errors: Errors with their pictures.
        correct: Reference images with theirs; None without.
    """
    if errors.measured is None or not errors.pictures.shape[-1]:
        return errors
    sources, pictures = list(errors.measured.sources), errors.pictures
    count = len(sources)
    if correct is not None and correct.measured is not None and correct.pictures.shape[-1]:
        sources += correct.measured.sources
        pictures = np.concatenate([pictures, correct.pictures])
    number = number_photographs(sources, pictures, np.arange(count)).tolist()
    shared: dict[int, str] = {}
    for row in (*range(count, len(sources)), *sorted(range(count), key=sources.__getitem__)):
        shared.setdefault(number[row], sources[row])
    return replace(errors, measured=replace(errors.measured, sources=tuple(shared[one] for one in number[:count])))
