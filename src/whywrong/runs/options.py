"""Options of a diagnosis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from whywrong.core.errors import InputError
from whywrong.core.registry import Depth
from whywrong.data.decoding import DecodeOptions

_WHOLE = ("images", "limit", "seed", "workers", "batch_size")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """Options of a run.

    Attributes:
        depth: Which methods run: ``quick``, ``standard`` or ``deep``.
        methods: Names of methods instead of those of the depth.
        options: Settings by method: ``{"NAME": {"SETTING": VALUE}}``.
        images: Most images to classify, drawn at random; None classifies all. A larger number adds to a run.
        limit: Most errors to explain in full, spread over pairs of classes.
        time_budget: Seconds of work after which the run stops and is reported, to be resumed by the same call; at most
            two fifths are used to classify a random sample. None sets no limit.
        seed: Seed of every method; part of the identity of the run.
        workers: 1 works in this process; more are separate processes, each on its own GPU if there are GPUs.
        engine: Where the work runs, see :mod:`whywrong.runs.engines.names`.
        batch_size: Images in one pass through the model; None uses as many as fit in memory.
        decode_options: How files are decoded; part of the identity of the run.
        time_limit: Seconds without an image passing, after which a worker process counts as hung.

    Raises:
        InputError: A number has another type or is out of range.
    """

    depth: Depth = "quick"
    methods: Sequence[str] | None = None
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    images: int | None = None
    limit: int = 200
    time_budget: float | None = None
    seed: int = 0
    workers: int = 1
    engine: str = "local"
    batch_size: int | None = None
    decode_options: DecodeOptions = field(default_factory=DecodeOptions)
    time_limit: float = 600.0

    def __post_init__(self) -> None:
        for name in _WHOLE:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, type(None))):
                raise InputError(f"{name} must be a whole number, got {value!r}")
        if self.workers < 1 or self.limit < 0:
            raise InputError(f"workers must be at least 1 and limit at least 0, got {self.workers} and {self.limit}")
        if self.batch_size is not None and self.batch_size < 1:
            raise InputError(f"batch_size must be at least 1, got {self.batch_size}")
        if (self.images is not None and self.images < 1) or (self.time_budget is not None and not self.time_budget > 0):
            raise InputError(f"images and time_budget must be above 0, got {self.images} and {self.time_budget}")
