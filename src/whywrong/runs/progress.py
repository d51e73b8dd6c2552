"""What a long call reports while it works."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is.

    Attributes:
        stage: ``list``, ``predict``, ``explain`` or ``check``; ``stopping`` says that a signal came and that the batch
            in hand is being finished.
        done: Items, or errors, of the stage that this call has done.
        total: All that it has to do.
        errors: Wrong items that this call has found.
        failed: Items that could not be used, in this call.
        passes: Images, counted forward and backward, that this stage has sent through the model.
        share: Of ``explain``: how much of its work is done, 0 to 1, by the passes spent and those still expected; None
            in other stages. It moves while a method works, ``done`` only with finished shards.
        method: Of ``explain``: the method in hand; empty if none runs.
    """

    stage: str
    done: int
    total: int
    errors: int
    failed: int
    passes: int = 0
    share: float | None = None
    method: str = ""
