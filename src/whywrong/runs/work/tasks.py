"""Plain and picklable descriptions of a run and its tasks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from whywrong.core.input_spec import InputSpec
from whywrong.core.registry import Method
from whywrong.data.decoding import DecodeOptions
from whywrong.runs.engines.base import Task, WorkerSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodSpec:
    """One method with its settings.

    Attributes:
        method: Its registry entry.
        config: Its frozen config.
        hash: Identifies the config; names the folder of the results.
        controls: Whether it runs on controls, correctly classified images with their runner-up as the label.
    """

    method: Method
    config: Any
    hash: str
    controls: bool = False

    @property
    def name(self) -> str:
        """Its name in plans: that of the method, or a separate one for controls."""
        return f"{self.method.name} controls" if self.controls else self.method.name


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSpec(WorkerSpec):
    """Settings of a run for a worker.

    Attributes:
        folder: The run folder.
        identity: Hash of model, data and seed; shards of another identity are never read.
        seed: Seed of the run; a method's rows draw from hash(seed, item, method).
        spec: Input of the classifier.
        options: How files are decoded.
        steps: Methods to run.
    """

    worker: ClassVar[str] = "whywrong.runs.work.perform:RunWorker"
    folder: Path
    identity: str
    seed: int
    spec: InputSpec
    options: DecodeOptions
    steps: tuple[MethodSpec, ...]

    @property
    def call_rows(self) -> int:
        """Most errors in one call of a method, whatever the size of the shard, to bound the memory."""
        return max(64, self.batch_size)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardTask(Task):
    """A task of a run: ``predict``, or ``explain`` for all methods on the errors of the shard.

    Attributes:
        details: Items to be explained in full.
        last: Largest ``item_id`` to predict; None predicts all.
        controls: Correctly classified items used as controls, and whether each is held out.
    """

    details: frozenset[str] = frozenset()
    last: str | None = None
    controls: frozenset[tuple[str, bool]] = frozenset()
