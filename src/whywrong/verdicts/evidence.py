"""The evidence on causes, a table with one row per error and one column per normalised sign.

The columns are signs relative to the reference images in role play, signs from the nearest correct images and from
other models, and the recurrence of fine content in other errors. Differences from reference images of equal margin are
excluded, because they are too noisy with 120 reference images (docs/methods/verdict_card.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from whywrong.core.access import Access
from whywrong.verdicts.controls import logit_scale
from whywrong.verdicts.measured import Measured
from whywrong.verdicts.neighbours import NEIGHBOUR_SIGNS, neighbour_signs
from whywrong.verdicts.normalise import LEAST_REFERENCE, normalised

NO_REFERENCE = "no reference"
_SHARES = ("feature_share_label", "feature_share_predicted", "head_rank", "pair_rank")


class KnownSign(Protocol):
    """The attributes of :class:`whywrong.explain.signs.Sign` that the evidence needs."""

    @property
    def name(self) -> str: ...
    @property
    def group(self) -> str: ...
    @property
    def stage(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def access(self) -> Any: ...


class Recurring(Protocol):
    """The attributes of :class:`whywrong.verdicts.recurrence.Recurrence` that the evidence needs."""

    @property
    def count(self) -> np.ndarray: ...
    @property
    def best(self) -> np.ndarray: ...
    @property
    def cluster(self) -> np.ndarray: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Description of the F columns of evidence.

    Attributes:
        names: Names of the signs.
        groups: Group of each sign; ablation sets all signs of a group to the reference.
        accesses: Access that each sign needs, a letter of "LSGI".
        stages: Stage of the cascade that measures each sign, 1 to 3.
        ranked: Whether each sign is normalised by the reference, and so missing without one.
    """

    names: tuple[str, ...]
    groups: tuple[str, ...]
    accesses: tuple[str, ...]
    stages: tuple[int, ...]
    ranked: tuple[bool, ...]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Evidence:
    """Evidence on N errors.

    Attributes:
        columns: Description of the F columns.
        x: (N, F) float32, NaN if missing.
        median: (F,) float32, values of the typical reference image, which replace missing values.
        access: Access to the model, a letter of "LSGI".
        stage: Last stage of the cascade with measured signs, 1 to 3.
        stages: Names of the measured stages of signs.
        helpers: Number of other models.
        reference_n: Number of reference images.
        calibration: "no reference" if there were fewer than 50, otherwise empty.
        reference_names: Names of S raw signs of the reference, for the comparison with the models of the training set.
        reference_quantiles: (3, S) float32, 5 %, 50 % and 95 % quantiles of these signs; logits are divided by their
            scale.
    """

    columns: Columns
    x: np.ndarray
    median: np.ndarray
    access: str
    stage: int
    stages: tuple[str, ...]
    helpers: int
    reference_n: int
    calibration: str
    reference_names: tuple[str, ...]
    reference_quantiles: np.ndarray

    def __len__(self) -> int:
        return len(self.x)

    @property
    def names(self) -> tuple[str, ...]:
        return self.columns.names

    @property
    def groups(self) -> tuple[str, ...]:
        return self.columns.groups

    def at(self, rows: np.ndarray) -> Evidence:
        """Return the evidence on the errors with the given indices or mask.

        Args:
            rows: (M,) int64 indices, or (N,) bool.
        """
        return replace(self, x=self.x[rows])


def cascade_stage(stages: Sequence[str]) -> int:
    """Return the last stage of the cascade (1 to 3) of these stages of signs."""
    return max((_STAGES.get(stage, 1) for stage in stages), default=1)


_STAGES = {"": 1, "pixels": 1, "scores": 1, "survival": 2, "gradient": 2, "crops": 3, "windows": 3}


def assemble(
    errors: Measured,
    reference: Measured,
    recurrence: Recurring | None,
    *,
    stages: Sequence[str],
    known: Sequence[KnownSign] | None = None,
) -> Evidence:
    """Assemble the evidence on errors.

    Args:
        errors: Measurements of errors.
        reference: Measurements of correctly classified images in role play.
        recurrence: Recurrence of fine content among the errors; None if it was not computed.
        stages: Names of the measured stages of signs; columns of other stages are missing.
        known: Signs that become columns; all of :data:`whywrong.explain.signs.SIGNS` by default.
    """
    known = tuple(_known_signs() if known is None else known)
    parts = [
        _measured_part(errors, reference, known, stages),
        _neighbour_part(errors, reference),
        _helper_part(errors, reference),
        _recurrence_part(len(errors), recurrence),
    ]
    enough = len(reference) >= LEAST_REFERENCE
    fields = {
        name: tuple(value for part in parts for value in getattr(part[0], name))
        for name in ("names", "groups", "accesses", "stages", "ranked")
    }
    names, quantiles = _raw_quantiles(reference, known)
    return Evidence(
        columns=Columns(**fields),
        x=np.concatenate([part[1] for part in parts], axis=1).astype(np.float32),
        median=np.concatenate([part[2] for part in parts]).astype(np.float32),
        access=_access(errors, known),
        stage=cascade_stage(stages),
        stages=tuple(stages),
        helpers=len(errors.helper_logits) if errors.helper_logits.size else 0,
        reference_n=len(reference),
        calibration="" if enough else NO_REFERENCE,
        reference_names=names,
        reference_quantiles=quantiles,
    )


_Part = tuple[Columns, np.ndarray, np.ndarray]


def _known_signs() -> Sequence[KnownSign]:
    from whywrong.explain.signs import SIGNS

    return [sign for sign in SIGNS if sign.stage]


def _letter(access: Any) -> str:
    return {Access.LABELS: "L", Access.TOP: "L", Access.SCORES: "S", Access.GRADIENTS: "G", Access.INTERNALS: "I"}[
        access
    ]


def _raw(items: Measured, names: Sequence[str]) -> np.ndarray:
    """Return raw signs (N, S) by name, NaN if not measured."""
    place = {name: i for i, name in enumerate(items.sign_names)}
    found = np.full((len(items), len(names)), np.nan)
    for column, name in enumerate(names):
        if name in place:
            found[:, column] = items.signs[:, place[name]]
    return np.where(np.isfinite(found), found, np.nan)


def _middle(values: np.ndarray) -> np.ndarray:
    """Return medians of columns (F,), 0 for columns without values."""
    empty = ~np.isfinite(values).any(0) if len(values) else np.ones(values.shape[1], dtype=bool)
    filled = np.where(empty, 0.0, values) if len(values) else np.zeros((1, values.shape[1]))
    return np.nanmedian(filled, axis=0)


def _measured_part(errors: Measured, reference: Measured, known: Sequence[KnownSign], stages: Sequence[str]) -> _Part:
    """Return the columns of the measured signs."""
    names = [sign.name for sign in known]
    kinds = [sign.kind for sign in known]
    raw, base = _raw(errors, names), _raw(reference, names)
    raw[:, [sign.stage not in stages for sign in known]] = np.nan
    x = normalised(raw, base, kinds)
    median = np.where([kind == "share" for kind in kinds], _middle(base), 0.0)
    columns = Columns(
        names=tuple(names),
        groups=tuple(sign.group for sign in known),
        accesses=tuple(_letter(sign.access) for sign in known),
        stages=tuple(_STAGES[sign.stage] for sign in known),
        ranked=tuple(kind != "share" for kind in kinds),
    )
    return columns, x, median


def _neighbour_part(errors: Measured, reference: Measured) -> _Part:
    """Return the columns from the nearest correct images."""
    kinds = ["share" if name in _SHARES else "quantity" for name in NEIGHBOUR_SIGNS]
    base = neighbour_signs(reference, reference)
    x = normalised(neighbour_signs(errors, reference), base, kinds)
    median = np.where([kind == "share" for kind in kinds], _middle(base), 0.0)
    if len(reference) < LEAST_REFERENCE:
        x[:] = np.nan
    pair = [name.startswith("pair") for name in NEIGHBOUR_SIGNS]
    columns = Columns(
        names=NEIGHBOUR_SIGNS,
        groups=tuple("scores" if yes else "features" for yes in pair),
        accesses=tuple("S" if yes else "I" for yes in pair),
        stages=(1,) * len(NEIGHBOUR_SIGNS),
        ranked=(True,) * len(NEIGHBOUR_SIGNS),  # all of them need the reference
    )
    return columns, x, median


_HELPER = ("helper_log_ratio", "helper_log_label", "helper_entropy", "helper_label", "helper_predicted", "helper_third")


def _helper_part(errors: Measured, reference: Measured) -> _Part:
    """Return the columns from other models' predictions."""
    kinds = ["quantity"] * 3 + ["share"] * 3
    base = _helper_signs(reference)
    columns = Columns(
        names=_HELPER,
        groups=("helper",) * len(_HELPER),
        accesses=("L",) * len(_HELPER),  # the access to the diagnosed model
        stages=(1,) * len(_HELPER),
        ranked=tuple(kind != "share" for kind in kinds),
    )
    median = np.where([kind == "share" for kind in kinds], _middle(base), 0.0)
    return columns, normalised(_helper_signs(errors), base, kinds), median


def _helper_signs(items: Measured) -> np.ndarray:
    """Return the raw helper signs (N, 6), means over helpers; NaN without helpers."""
    n = len(items)
    if not items.helper_logits.size:
        return np.full((n, len(_HELPER)), np.nan)
    logits = items.helper_logits.astype(np.float64)
    logits = logits - logits.max(2, keepdims=True)
    log_p = logits - np.log(np.exp(logits).sum(2, keepdims=True))
    rows = np.arange(n)
    at_label, at_predicted = log_p[:, rows, items.label], log_p[:, rows, items.predicted]
    read = log_p.argmax(2)
    label, predicted = read == items.label, read == items.predicted
    third = ~label & ~predicted if logits.shape[2] > 2 else np.full(read.shape, np.nan)
    entropy = -(np.exp(log_p) * np.where(np.isfinite(log_p), log_p, 0)).sum(2)
    signs = [at_predicted - at_label, at_label, entropy, label, predicted, third]
    return np.stack([np.mean(sign, axis=0) for sign in signs], axis=1)


_RECURRENCE = ("recurrence_count", "recurrence_best", "recurrence_cluster")


def _recurrence_part(n: int, recurrence: Recurring | None) -> _Part:
    """Return the columns from content that recurs in other errors."""
    if recurrence is None:
        x = np.full((n, 3), np.nan)
    else:
        best = np.where(np.isfinite(recurrence.best), recurrence.best, 0.0)
        x = np.stack([np.log1p(recurrence.count), best, recurrence.cluster >= 0], axis=1)
    columns = Columns(
        names=_RECURRENCE,
        groups=("recurrence",) * 3,
        accesses=("L",) * 3,
        stages=(1,) * 3,
        ranked=(False,) * 3,
    )
    return columns, x, np.zeros(3)


def _raw_quantiles(reference: Measured, known: Sequence[KnownSign]) -> tuple[tuple[str, ...], np.ndarray]:
    """Return quantiles of the reference's raw signs, logits in units of their scale."""
    names = tuple(sign.name for sign in known)
    raw = _raw(reference, names)
    units = np.where([sign.kind == "logit" for sign in known], logit_scale(reference), 1.0)
    found = np.full((3, len(names)), np.nan, dtype=np.float32)
    for column in np.flatnonzero(np.isfinite(raw).any(0)):
        found[:, column] = np.nanquantile(raw[:, column] / units[column], (0.05, 0.5, 0.95))
    return names, found


def _access(errors: Measured, known: Sequence[KnownSign]) -> str:
    """Return the access that the measurements show, a letter of "LSGI"."""
    if errors.features.shape[1]:
        return "I"
    gradients = [sign.name for sign in known if _letter(sign.access) == "G"]
    if np.isfinite(_raw(errors, gradients)).any():
        return "G"
    return "S" if errors.logits.shape[1] else "L"
