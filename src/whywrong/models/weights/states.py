"""Find the table and prefix of a module's weights in a checkpoint by matching names.

Trainers nest the table (``state_dict``, ``model_ema`` ...) and add prefixes to the names (``module.``, ``_orig_mod.``,
``model.`` and others, also repeated). No list of them is needed: a set of weights is a table and a prefix under which
every name of the module is found with its shape.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from whywrong.core.errors import ModelError

_DEEPEST = 5  # nesting levels of tables
_MOST_TABLES = 10_000
_SHOWN = 5
_TOP = "."
_TRAINING_ONLY = re.compile(r"loss|criterion|metric|class_weight|n_averaged|num_updates", re.IGNORECASE)
_PROFILED = ("total_ops", "total_params")  # buffers that a profiler leaves in every layer


@dataclass(frozen=True, slots=True, eq=False)
class StateSet:
    """One set of weights in a checkpoint.

    Attributes:
        path: Keys that lead to its table.
        prefix: Prefix of the names of the module, with its last dot.
        table: All tensors of the table, by their names in the file.
    """

    path: tuple[str, ...]
    prefix: str
    table: Mapping[str, Tensor]

    @property
    def label(self) -> str:
        """Name of the set for ``weights_key``, path and prefix joined by dots."""
        return ".".join([*self.path, *([self.prefix[:-1]] if self.prefix else [])]) or _TOP

    def called(self, key: str) -> bool:
        """Return whether a key selects this set, by its label or the start or end of it."""
        return self.label == key or self.label.startswith(f"{key}.") or self.label.endswith(f".{key}")

    def state(self) -> dict[str, Tensor]:
        """Return the tensors under the prefix, by their names in the module."""
        cut = len(self.prefix)
        return {key[cut:]: tensor for key, tensor in self.table.items() if key.startswith(self.prefix)}


def choose_state(
    content: Any, module: nn.Module, file: str, *, key: str | None, optional: Sequence[str] = ()
) -> tuple[dict[str, Tensor], list[str]]:
    """Find the weights of a module in the content of a checkpoint.

    Args:
        content: Nested mappings with tensors in them.
        module: Its names and shapes select the set.
        file: Name of the file, for messages.
        key: Label of the set if there are several, or the start or end of it; None if there is one.
        optional: Prefixes of names that may be in the file without being in the module.

    Returns:
        Tensors by their names in the module, all of matching shape; and notes on stripped prefixes and omitted tensors.

    Raises:
        ModelError: No set fits (the first five mismatches are listed), or several different sets do.
    """
    expected = dict(module.state_dict())
    found = [
        StateSet(path, prefix, table) for path, table in named_tables(content) for prefix in _prefixes(table, expected)
    ]
    asked = found if key is None else [candidate for candidate in found if candidate.called(key)]
    if not asked:
        raise ModelError(_nothing(content, module, file, key, found))
    complete = [candidate for candidate in found if not _mismatches(candidate.state(), expected)]
    fitting = [candidate for candidate in asked if candidate in complete]
    if not fitting:
        closest = max(asked, key=lambda candidate: len(expected.keys() & candidate.state().keys()))
        extra = [f'"{name}" is not in the model' for name in _foreign(closest, module)]
        raise ModelError(_misfit(file, module, [*_mismatches(closest.state(), expected), *extra]))
    chosen, others = fitting[0], fitting[1:]
    differing = [other for other in others if not _equal(chosen.state(), other.state(), expected)]
    if differing:
        labels = ", ".join(candidate.label for candidate in [chosen, *differing])
        raise ModelError(
            f"{file} holds several sets of weights that fit and differ ({labels}); say which with --weights-key, as "
            f"--weights-key {differing[-1].label}"
        )
    beside = tuple(o.prefix for o in complete if o.path == chosen.path and len(o.prefix) > len(chosen.prefix))
    foreign = [
        f'"{name}" is not in the model'
        for name in _foreign(chosen, module, optional)
        if not (chosen.prefix + name).startswith(beside)
    ]
    if foreign:
        raise ModelError(_misfit(file, module, foreign))
    state = chosen.state()
    return {name: state[name] for name in expected if name in state}, _notes(file, chosen, others, expected)


def named_tables(content: Any) -> Iterator[tuple[tuple[str, ...], dict[str, Tensor]]]:
    """Yield all mappings with named tensors, outer ones first."""
    level: list[tuple[tuple[str, ...], Any]] = [((), content)]
    visited = 0
    for _ in range(_DEEPEST):
        inner: list[tuple[tuple[str, ...], Any]] = []
        for path, mapping in level:
            visited += 1
            if not isinstance(mapping, Mapping) or visited > _MOST_TABLES:  # crafted tables may repeat each other
                continue
            table = {k: v for k, v in mapping.items() if isinstance(k, str) and isinstance(v, Tensor)}
            if table:
                yield path, table
            inner += [((*path, str(k)), v) for k, v in mapping.items() if isinstance(v, Mapping)][:_MOST_TABLES]
        level = inner[:_MOST_TABLES]


def renamed(content: Any, rename: Callable[[str], str]) -> Any:
    """Rename the tensors in all tables of a checkpoint."""
    if not isinstance(content, Mapping):
        return content
    return {rename(k) if isinstance(v, Tensor) else k: renamed(v, rename) for k, v in content.items()}


def _prefixes(table: Mapping[str, Tensor], expected: Mapping[str, Any]) -> list[str]:
    """Return the prefixes under which names of the module occur, most frequent first, then shortest."""
    count: Counter[str] = Counter()
    for key in table:
        parts = key.split(".")
        for start in range(len(parts)):
            if ".".join(parts[start:]) in expected:
                count["".join(f"{part}." for part in parts[:start])] += 1
    return sorted(count, key=lambda prefix: (-count[prefix], len(prefix)))


def _mismatches(state: Mapping[str, Tensor], expected: Mapping[str, Any]) -> list[str]:
    """List weights that are missing in a state or differ in shape or kind of number."""
    wrong = []
    for key, target in expected.items():
        if key not in state:
            if not key.endswith("num_batches_tracked"):  # a counter that predictions do not use
                wrong.append(f'"{key}" is missing')
        elif isinstance(target, Tensor) and state[key].shape != target.shape:
            wrong.append(f'"{key}" is {tuple(state[key].shape)} in the file, {tuple(target.shape)} in the model')
        elif isinstance(target, Tensor) and state[key].is_floating_point() != target.is_floating_point():
            wrong.append(f'"{key}" is {state[key].dtype} in the file, {target.dtype} in the model')
    return wrong


def _foreign(chosen: StateSet, module: nn.Module, optional: Sequence[str] = ()) -> list[str]:
    """List additional names that show another architecture; a deeper network holds all names of this one."""
    expected = module.state_dict().keys()
    kept = {name for name, _ in module.named_buffers()}  # including those that are computed, not stored
    top = {name.split(".")[0] for name in (*expected, *kept, *(n for n, _ in module.named_children()))}
    foreign = []
    for name, tensor in chosen.state().items():
        first, _, rest = name.partition(".")
        harmless = (
            name in expected
            or name in kept
            or name.startswith(tuple(optional))
            or name.rpartition(".")[2] in _PROFILED
            or (first not in top and (bool(_TRAINING_ONLY.search(first)) or (not rest and tensor.numel() == 1)))
        )
        if not harmless:
            foreign.append(name)
    return foreign


def _equal(a: Mapping[str, Tensor], b: Mapping[str, Tensor], expected: Mapping[str, Any]) -> bool:
    both = [(a[key], b[key]) for key in expected if key in a and key in b]
    return all(one.dtype == other.dtype and torch.equal(one, other) for one, other in both)


def _notes(file: str, chosen: StateSet, others: Sequence[StateSet], expected: Mapping[str, Any]) -> list[str]:
    notes = []
    if chosen.prefix:
        notes.append(f'{file}: the prefix "{chosen.prefix}" was stripped from the names of the weights')
    if others:
        labels = ", ".join(other.label for other in others)
        notes.append(f"{file}: the weights are those of {chosen.label}; {labels} holds the same numbers")
    taken = {chosen.prefix + name for name in expected}
    left = [name for name in chosen.table if name not in taken]
    if left:
        more = f" and {len(left) - 3} more" if len(left) > 3 else ""
        notes.append(f"{file}: not used, as the model has no such weights: {', '.join(left[:3])}{more}")
    return notes


def _misfit(file: str, module: nn.Module, wrong: Sequence[str]) -> str:
    more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
    return (
        f"{file} does not fit {type(module).__name__}: {'; '.join(wrong[:_SHOWN])}{more}. It belongs to another "
        "architecture or number of classes; where only the last layer differs, pass the classes it was trained on"
    )


def _nothing(content: Any, module: nn.Module, file: str, key: str | None, found: Sequence[StateSet]) -> str:
    if key is not None:
        labels = ", ".join(candidate.label for candidate in found[:10])
        return f'{file} has no weights under "{key}"; it has: {labels or "none that fit the model"}'
    names = list(max((table for _, table in named_tables(content)), key=len, default={}))
    wrong = [f'"{name}" is missing' for name in module.state_dict() if not name.endswith("num_batches_tracked")]
    wrong = wrong[: max(_SHOWN - 2, _SHOWN - len(names))] + [f'"{name}" is not in the model' for name in names]
    return _misfit(file, module, wrong)
