"""What a run asks its workers to do: plain, picklable descriptions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from whywrong.core.input_spec import InputSpec
from whywrong.core.registry import Method
from whywrong.data.decoding import DecodeOptions

Stage = Literal["predict", "explain"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One method with its settings.

    Attributes:
        method: Its line in the registry.
        config: Its frozen config.
        hash: Identifies the config; names the folder of the results.
        controls: Whether it asks about images read right, in role play, instead of errors.
    """

    method: Method
    config: Any
    hash: str
    controls: bool = False

    @property
    def name(self) -> str:
        """Its name in plans: that of the method, or one of its own for controls."""
        return f"{self.method.name} controls" if self.controls else self.method.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Everything a worker needs to serve a run.

    Attributes:
        folder: The run folder.
        identity: Hash of model, data and seed; shards of another identity are never read.
        seed: Seed of the run; a method's rows draw from hash(seed, item, method).
        spec: Input of the classifier.
        options: How files are decoded.
        steps: Methods to run.
        batch_size: Images in one pass through the model.
        load_threads: Background threads that read and decode.
        model_threads: Threads of the model in a worker process.
        recipe: Rebuilds the classifier in a worker process; None in process.
        source: Picklable spec of the source, with ``open()``; None in process.
        cards: GPU of each worker process; empty where the recipe says it all.
    """

    folder: Path
    identity: str
    seed: int
    spec: InputSpec
    options: DecodeOptions
    steps: tuple[Step, ...]
    batch_size: int
    load_threads: int
    model_threads: int
    recipe: Any = None
    source: Any = None
    cards: tuple[str, ...] = ()

    @property
    def call_rows(self) -> int:
        """Most errors in one call of a method, whatever the shard holds: it bounds the memory."""
        return max(64, self.batch_size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One shard in one stage.

    Attributes:
        stage: ``predict``, or ``explain`` for all methods of the errors in the shard.
        shard: Index of the shard.
        details: Items to be explained in full.
        last: Largest ``item_id`` to predict, where only a sample of the items is predicted; None predicts all.
        controls: Items read right that are asked about in role play, and whether each is held out.
        singly: Items to be handled one at a time, since a worker died among them.
        blame: Items that ended a worker more than once, with the reason: they are recorded and not touched again.
    """

    stage: Stage
    shard: int
    details: frozenset[str] = frozenset()
    last: str | None = None
    controls: frozenset[tuple[str, bool]] = frozenset()
    singly: frozenset[str] = frozenset()
    blame: frozenset[tuple[str, str]] = frozenset()

    @property
    def blamed(self) -> dict[str, str]:
        """Item to reason."""
        return dict(self.blame)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sign:
    """A sign of life from the middle of a unit.

    Attributes:
        shard: Shard of the unit.
        passed: Images that have gone through the model since the last sign.
        share: How much of the unit is done, 0 to 1, where it can be told; 0 elsewhere.
        method: The method in hand; empty where there is none.
    """

    shard: int
    passed: int
    share: float = 0.0
    method: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What came of a unit.

    Attributes:
        unit: The unit.
        done: Items, or errors, that were worked on.
        errors: Of those predicted, how many are wrong.
        failed: How many could not be used.
        nonfinite: How many got NaN or infinite scores.
        refused: Methods that cannot run on this classifier, with the reason.
        notes: Lines for the run's record.
        complete: False where the unit was interrupted; what was done is committed.
    """

    unit: Unit
    done: int = 0
    errors: int = 0
    failed: int = 0
    nonfinite: int = 0
    refused: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    complete: bool = True
