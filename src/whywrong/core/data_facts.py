"""What a data set tells about the model that it is made for."""

from __future__ import annotations

from dataclasses import dataclass

from whywrong.core.input_spec import InputSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFacts:
    """What a data set states beyond its images and labels.

    Attributes:
        title: What it is, for the record of a run; empty if its path says that.
        classes: Names of the classes, in the order of its whole-number labels; None if it states none.
        spec: The preprocessing of its transform, if that can be read in full.
        size: (C, H, W) of its images, if all are known to be of one size.
        prepared: Whether its images are the very input of the model, up to normalisation.
        mean, std: The normalisation of its transform, or the one that its owner gave.
        remarks: What its owner should know about how it is read, one sentence each.
    """

    title: str = ""
    classes: tuple[str, ...] | None = None
    spec: InputSpec | None = None
    size: tuple[int, int, int] | None = None
    prepared: bool = False
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    remarks: tuple[str, ...] = ()
