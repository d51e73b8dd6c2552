"""Facts that a data set states about itself and about the model it is made for."""

from __future__ import annotations

from dataclasses import dataclass

from whywrong.core.input_spec import InputSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFacts:
    """Facts that a data set states beyond its images and labels.

    Attributes:
        title: Description of the data, for the record of a run; empty if the path is enough.
        classes: Names of the classes, in the order of the integer labels; None if unknown.
        spec: Preprocessing of the transform; None if it cannot be read in full.
        size: (C, H, W) of the images; None unless all are known to have one size.
        prepared: Whether the images are already the input of the model, apart from normalisation.
        mean, std: Normalisation of the transform, or the one given by the user.
        remarks: Notes for the user on how the data are read, one sentence each.
    """

    title: str = ""
    classes: tuple[str, ...] | None = None
    spec: InputSpec | None = None
    size: tuple[int, int, int] | None = None
    prepared: bool = False
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    remarks: tuple[str, ...] = ()
