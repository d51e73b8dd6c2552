"""The engine of one machine: one worker in this process, or several in separate processes."""

from __future__ import annotations

import os
from dataclasses import replace

from whywrong.core.registry import resolve
from whywrong.data.sources.base import Source
from whywrong.models.classifier import Classifier
from whywrong.models.devices import cards
from whywrong.runs.engines.base import Engine, EngineOptions, WorkerSpec
from whywrong.runs.engines.in_process import InProcess
from whywrong.runs.engines.processes import Processes

_LOADERS = 4  # threads that decode; more have never been needed to keep a model on few cores busy


def local_engine(spec: WorkerSpec, classifier: Classifier, source: Source, options: EngineOptions) -> Engine:
    """Make an engine for this machine.

    Args:
        spec: Needs of a worker; threads, recipe, source and cards are filled in here.
        classifier: The classifier, with a recipe if there is more than one worker.
        source: Source of the tasks.
        options: Number of workers, and when one counts as hung.

    Raises:
        InputError: There are more workers than GPUs.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = max(1, cores // options.workers)
    spec = replace(spec, load_threads=min(_LOADERS, share), model_threads=share)
    if options.workers > 1:
        spec = replace(
            spec, recipe=classifier.recipe, source=source.spec, cards=worker_cards(classifier, options.workers)
        )
        return Processes(spec, options.workers, options.stop, time_limit=options.time_limit, items_of=options.items_of)
    classifier.batch_size = spec.batch_size
    stop = options.stop
    worker = resolve(spec.worker)(spec, classifier, source, stopping=lambda: stop.requested, at=lambda items: None)
    return InProcess(worker, stop)


def worker_cards(classifier: Classifier, workers: int) -> tuple[str, ...]:
    """Assign a GPU to each worker process, if the model is on one.

    Raises:
        InputError: There are more workers than GPUs.
    """
    if workers == 1 or classifier.recipe is None:  # a classifier that exists only in memory has one worker
        return ()
    return cards(classifier.device, getattr(classifier.recipe, "device", None), workers)


def kept_in_memory(classifier: Classifier, source: Source) -> str:
    """Name what a worker process cannot open, as the beginning of a sentence.

    Empty if it can open both classifier and source.
    """
    kept = ["the classifier"] if classifier.recipe is None else []
    kept += ["the data set"] if source.spec.kind == "object" else []
    return f"{' and '.join(kept)} {'exists' if len(kept) == 1 else 'exist'}" if kept else ""
