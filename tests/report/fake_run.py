# ruff: noqa: C408  (keywords read better than quoted keys in these long rows)
"""A run in memory with the views, maps and thumbnails of a run folder, filled with made-up but consistent numbers."""

from __future__ import annotations

import io
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, get_type_hints

import duckdb
import numpy as np
import pyarrow as pa
from PIL import Image, ImageDraw

from whywrong.core.registry import find_method, resolve
from whywrong.core.result import shown_as_rows

_NOTHING = dict(predicted=0, confidence=0.0, true_confidence=0.0, rank_of_true=1, margin=0.0, near_tie=False, top5=[0],
                top5_confidence=[0.0], width=1, height=1, notes=[""])  # fmt: skip
METHODS = ("inverted", "covering", "cam", "profiles", "patch_groups", "counterfactuals")
_ABOUT = ("item_id", "image_id", "key", "label", "label_name", "predicted", "predicted_name")
_FROM_CONTROLS = ("p", "controls", "place_confirmed")  # what a view gains where a run also asks about right images
RATIOS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)
GRID = 7
CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog"]


class FakeRun:
    """Reads like a run folder: ``meta``, ``connection``, ``maps``, ``thumb``."""

    def __init__(self, path: Path, meta: dict[str, Any], views: dict[str, pa.Table]) -> None:
        self.path, self.meta = path, meta
        self.stored: dict[tuple[str, str], dict[str, np.ndarray]] = {}
        self.thumbs: dict[str, dict[str, Any]] = {}
        self._views = views

    def connection(self) -> duckdb.DuckDBPyConnection:
        connection = duckdb.connect()
        for name, table in self._views.items():
            connection.register(name, table)
        return connection

    def locate(self, items: Collection[str]) -> None:
        """Nothing has to be found."""

    def rewrite(self, view: str, change: Callable[[Any], Any]) -> None:
        """Change every value of a view."""
        table = self._views[view]
        rows = [{name: change(value) for name, value in row.items()} for row in table.to_pylist()]
        self._views[view] = pa.Table.from_pylist(rows, schema=table.schema)

    def add(self, view: str, table: pa.Table) -> None:
        """A view of another method, as a plug-in has it."""
        self._views[view] = table
        self.meta["methods"][view] = {"hash": "34cd", "config": {}, "result_version": 1}

    def maps(self, method: str, item_id: str) -> dict[str, np.ndarray]:
        return self.stored.get((method, item_id), {})

    def thumb(self, item_id: str) -> dict[str, Any] | None:
        return self.thumbs.get(item_id)


def drawn_photo(seed: int, size: tuple[int, int] = (320, 240)) -> Image.Image:
    """A coloured shape before a gradient, as large as ``size``."""
    rng = np.random.default_rng(seed)
    width, height = size
    ramp = np.linspace(0, 1, width)[None, :, None] * rng.uniform(60, 200, 3) + np.linspace(0, 55, height)[:, None, None]
    image = Image.fromarray(ramp.clip(0, 255).astype(np.uint8))
    x, y, r = rng.uniform(0.3, 0.7) * width, rng.uniform(0.3, 0.7) * height, rng.uniform(0.15, 0.3) * height
    draw = ImageDraw.Draw(image)
    shape = draw.ellipse if seed % 2 else draw.rectangle
    shape((x - r, y - r, x + r, y + r), fill=tuple(int(v) for v in rng.uniform(30, 255, 3)))
    return image


def textured_photo(seed: int, side: int = 320) -> Image.Image:
    """Random detail of every size, which takes as many bytes as a photograph does."""
    rng = np.random.default_rng(seed)
    image = np.zeros((side, side, 3))
    for cells in (4, 8, 16, 32, 64, 128, 256):
        noise = Image.fromarray(rng.integers(0, 256, (cells, cells, 3)).astype(np.uint8))
        image += np.asarray(noise.resize((side, side), Image.Resampling.BICUBIC), np.float64) / cells**0.5
    low, high = image.min(), image.max()
    return Image.fromarray(((image - low) / (high - low) * 255).astype(np.uint8))


def make_run(
    path: Path,
    *,
    images: int = 30,
    errors: int = 12,
    classes: list[str] | None = None,
    keys: list[str] | None = None,
    photos: list[Image.Image] | None = None,
    methods: tuple[str, ...] = METHODS,
    detailed: bool = True,
    duplicates: int = 0,
    failed: int = 0,
    waiting: int = 0,
    unlabelled: int = 0,
    side: int = 64,
    seed: int = 0,
) -> FakeRun:
    """A run of ``images`` read images, the first ``errors`` wrong; see the module for what is made up.

    ``duplicates`` repeats the first errors under another key. ``failed`` and ``waiting`` come on top of ``images``.
    """
    rng = np.random.default_rng(seed)
    names = classes or CLASSES
    k = len(names)
    items, predictions, wrong, fixes, cams = [], [], [], [], []
    covered, runner_ups = [], []
    profiles, groups, changed = [], [], []
    for i in range(images + failed + waiting):
        item = f"{i:020x}"
        label = None if errors <= i < errors + unlabelled else int(rng.integers(0, min(k, 4)))
        same = f"{i - errors:020x}" if duplicates and errors <= i < errors + duplicates else None
        if same is not None:
            label = items[i - errors]["label"]
        key = keys[i] if keys and i < len(keys) else f"photos/photo_{i:03d}.jpg"
        key = key.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")  # as a run folder stores it
        box = (40, 30, 200, 180) if i % 3 == 0 else (None,) * 4
        items.append(
            dict(item_id=item, key=key, label_text=str(label), label=label, size=1, mtime_ns=1, same_as=same, mask=None)
            | dict(zip(("x_min", "y_min", "x_max", "y_max"), box, strict=True))
        )
        if i >= images + failed:
            continue
        base = dict(item_id=item, image_id="ab" * 32, label=label)
        if i >= images:
            predictions.append({**base, "status": "failed", "reason": "truncated file"})
            continue
        bad = i < errors or (same is not None)
        top = rng.permutation(k)[:5].tolist()
        predicted = label if label is not None and not bad else (top[0] if top[0] != label else top[1])
        if same is not None:
            predicted = predictions[i - errors]["predicted"]
        top = [predicted, *[c for c in top if c != predicted][: min(k, 5) - 1]]
        shares = np.sort(rng.dirichlet(np.full(len(top), 0.4)))[::-1] * 0.98
        rank = 1 if not bad else (top.index(label) + 1 if label in top else 7)
        predictions.append(
            {
                **base,
                "status": "ok",
                "reason": None,
                "predicted": predicted,
                "confidence": float(shares[0]),
                "true_confidence": float(shares[rank - 1]) if rank <= len(shares) else 0.001,
                "rank_of_true": rank if label is not None else None,
                "margin": float(rng.gamma(2.0, 1.5)) * (1 if bad else -1),
                "near_tie": bool(i == 1),
                "top5": top,
                "top5_confidence": shares.tolist(),
                "width": 640,
                "height": 480,
                "notes": ["PNG named .jpg"] if i == 2 else [],
            }
        )
        if bad:
            row = predictions[-1]
            named = {"key": key, "same_as": same}
            wrong.append({**row, **named, "label_name": names[label or 0], "predicted_name": names[predicted]})
            if same is None:
                fixes.append({**base, "predicted": predicted, **_fix(rng, i, detailed)})
                cams.append({**base, "predicted": predicted, **_cam(rng, i)})
                about = {**base, "predicted": predicted}
                covered.append({**about, **_covering(i, k, label, predicted, detailed)})
                clear = dict(rival=0, rival_name=names[0], lead=3.1, clear=i % 2 == 0, threshold=1.5, controls=300)
                runner_ups.append({**about, "rank_of_true": rank, **clear, "role_play_rate": 0.64})
                shapes = np.random.default_rng((seed, i))  # of their own: what they draw changes no other number
                profiles += [{**about, **row} for row in _profile(shapes, i, predicted, detailed)]
                groups.append({**about, **_patch_groups(shapes, i, predicted, label, k, detailed)})
                changed += [{**about, **row} for row in _counterfactuals(shapes, i, predicted, label, detailed)]
    tables = {"items": pa.Table.from_pylist(items)}
    if predictions:
        full = {**_NOTHING, **max(predictions, key=len)}
        tables["predictions"] = pa.Table.from_pylist([{**dict.fromkeys(full), **row} for row in predictions])
        columns = {**dict.fromkeys(full), "key": "", "same_as": "", "label_name": "", "predicted_name": ""}
        tables["errors"] = (
            pa.Table.from_pylist(wrong) if wrong else _empty(tables["predictions"], [*columns])  # same columns, no row
        )
    lost = [{"item_id": r["item_id"], "key": items[int(r["item_id"], 16)]["key"], "stage": "predictions",
             "reason": r["reason"]} for r in predictions if r["status"] == "failed"]  # fmt: skip
    text = [("item_id", pa.string()), ("key", pa.string()), ("stage", pa.string()), ("reason", pa.string())]
    tables["failed_items"] = pa.Table.from_pylist(lost, schema=pa.schema(text))
    if "inverted" in methods and fixes:
        tables["inverted"] = _view("inverted", fixes)
    if "cam" in methods and cams:
        tables["cam"] = _view("cam", cams)
    if runner_ups:
        tables["runner_up"] = pa.Table.from_pylist(runner_ups)
    if "covering" in methods and covered:
        tables["covering"] = _view("covering", covered)
        tables["covering_controls"] = _covering_controls()
    for name, rows in (("profiles", profiles), ("patch_groups", groups), ("counterfactuals", changed)):
        if name in methods and rows:
            tables[name] = _view(name, rows)
    run = FakeRun(path, _meta(names, methods, images), tables)
    _fill(run, wrong, fixes if "inverted" in methods else [], cams if "cam" in methods else [], photos, side, rng)
    if "patch_groups" in methods:
        _fill_patch_groups(run, groups)
    if "counterfactuals" in methods:
        _fill_counterfactuals(run, changed, side)
    return run


def _fix(rng: np.random.Generator, i: int, detailed: bool) -> dict[str, Any]:
    fixed = i % 11 != 7
    linf = float(rng.lognormal(-0.9, 1.1)) / 255
    row: dict[str, Any] = dict(
        status="ok" if fixed else "no_answer", q_candidates=1 if fixed else 70, q_shrink=14, forwards=60,
        backwards=30, rho_l2=linf * 20, rho_linf=linf, l0=4000, l1=linf * 900, l2=linf * 21, linf=linf * 3,
        rho_lin_l2=linf * 19, rho_lin_linf=linf * 0.95, margin_before=2.5, margin_after=-0.02,
        u8_fixed=fixed and i % 5 != 4,
        u8_l2=linf * 30, u8_linf=1 / 255, unstable=i == 3,
    )  # fmt: skip
    detailed = detailed and fixed
    region = {"segment": 12, "share": 0.41, "area": 0.031, "lift": 13.2, "sufficient": True, "necessary": False}
    details: dict[str, Any] = dict(
        region_fixed=True, region_count=1 + i % 3, region_area=0.02 * (1 + i % 3), region_l2=linf * 40,
        region_linf=linf * 9, regions=[region, {**region, "segment": 31, "share": 0.12, "sufficient": False}],
        contribution_residual=0.004, object_lift=1.8 if i % 3 == 0 else None,
        object_lift_p=0.01 if i % 3 == 0 else None,
    )  # fmt: skip
    return row | {"detailed": detailed} | (details if detailed else dict.fromkeys(details))


def _covering(i: int, k: int, label: int | None, predicted: int, detailed: bool) -> dict[str, Any]:
    """Every third place is confirmed; error 5 is refused."""
    status = "skipped" if not detailed else "refused" if i == 5 else "ok"
    row: dict[str, Any] = dict(
        v=0.6, p_true=0.8, p_rival=0.2, rival=next(c for c in range(k) if c not in (label, predicted)), window=8,
        turned=True, turned_windows=3, margin=2.5, left=0.25, top=0.5, width=0.25, height=0.25,
        p=3 / 301, controls=300, place_confirmed=i % 3 == 0,
    )  # fmt: skip
    reason = "scores are not finite" if status == "refused" else None
    nothing = {**dict.fromkeys(row), "rival": -1, "window": -1, "turned": False, "turned_windows": 0}
    passes = dict(forwards=50 if status == "ok" else 0, backwards=0)
    return {"status": status, "reason": reason} | (row if status == "ok" else nothing) | passes


def _covering_controls() -> pa.Table:
    """300 to compare with, and 100 held out, of which 13 have P at or below 0.1."""
    rows = [
        dict(item_id=f"c{j}", status="ok", v=0.1, held_out=j >= 300, p=(0.05 if j < 313 else 0.5) if j >= 300 else None)
        for j in range(400)
    ]
    return pa.Table.from_pylist([{**row, "forwards": 50, "backwards": 0} for row in rows])


def _cam(rng: np.random.Generator, i: int) -> dict[str, Any]:
    if i == 5:
        return dict(status="refused", reason="the sum misses the logits by 12 %", layer="blocks.6", kind="cam",
                    exact=True, residual=0.12, evidence=None, rows=7, cols=7, forwards=1, backwards=0)  # fmt: skip
    return dict(status="ok", reason=None, layer="blocks.6", kind="cam", exact=True, residual=1e-6,
                evidence=float(rng.gamma(2, 1.5)), rows=7, cols=7, forwards=1, backwards=0)  # fmt: skip


def _profile(rng: np.random.Generator, i: int, predicted: int, detailed: bool) -> list[dict[str, Any]]:
    """Error 4 is refused; 6 is all noise; every third falls back to pixels."""
    same: dict[str, Any] = dict(status="ok", reason=None, players="pixels" if i % 3 == 0 else "tokens",
                fallback="the model has no patch tokens" if i % 3 == 0 else None, rows=14, cols=14,
                baseline="image_mean", estimator="balanced", pairs=40, target=predicted,
                passes=2900, forwards=2900, backwards=0)  # fmt: skip
    nothing = dict.fromkeys(("order", "ratio", "value", "class", "A", "A_se", "J", "M", "M_se", "pos", "neg", "U",
                             "U_se", "noise_share", "noisy", "exact", "units"))  # fmt: skip
    if i == 4 or not detailed:
        status = "refused" if i == 4 else "skipped"
        reason = "logits are not finite" if i == 4 else None
        return [{**same, "status": status, "reason": reason, "pairs": 0, "passes": 0, "forwards": 0, **nothing}]
    found = []
    low, high = rng.uniform(0.1, 0.7), rng.uniform(0.05, 0.5)
    for ratio in RATIOS:
        for name, factor in (("true", 1.0), ("target", rng.uniform(0.8, 1.3)), ("difference", 1.7)):
            strength = factor * (0.06 + low * np.exp(-9 * ratio) + high * np.exp(-9 * (1 - ratio)))
            exact = ratio in (0.0, 1.0)
            noise = 0.0 if exact else 0.95 if i == 6 else float(np.clip(rng.beta(1.2, 8), 0, 1))
            U = strength**2 * (1 + 0.2 * rng.normal() * noise)
            M = 0.4 * strength * (1 if ratio < 0.6 else -1)
            found.append({
                **same, "order": int(ratio * 194), "ratio": int(ratio * 194) / 194, "value": "log_odds", "class": name,
                "A": 0.8 * strength, "A_se": 0.05 * strength, "J": 1.0, "M": M, "M_se": abs(M) * 0.2, "pos": abs(M),
                "neg": 0.3 * abs(M), "U": U, "U_se": 0.0 if exact else U * (0.08 + noise), "noise_share": noise,
                "noisy": noise > 0.3, "exact": exact, "units": 1 if exact else 24,
            })  # fmt: skip
    return found


def _patch_groups(
    rng: np.random.Generator, i: int, predicted: int, label: int, classes: int, detailed: bool
) -> dict[str, Any]:
    """Error 2 is refused, 8 is read as it is without any patch, 9 has no group that is enough."""
    n = GRID * GRID
    names = ("insertion_order", "insertion_values", "sufficient_size", "sufficient_found", "deletion_order",
             "deletion_values", "breaking_size", "breaking_found", "broken_into", "targeted_order", "targeted_size",
             "targeted_found", "support_order", "support_values", "support_size", "support_found",
             "near_ties", "spread")  # fmt: skip
    same: dict[str, Any] = dict(status="ok", reason=None, players="pixels" if i % 3 == 0 else "tokens", rows=GRID,
                fallback="the model has no patch tokens" if i % 3 == 0 else None, cols=GRID, target=predicted,
                value="log_odds", forwards=412, backwards=0)  # fmt: skip
    if i == 2 or not detailed:
        reason = "logits are not finite" if i == 2 else None
        return {**same, "status": "refused" if i == 2 else "skipped", "reason": reason, **dict.fromkeys(names)}
    centre, scatter = rng.integers(0, n), np.argsort(rng.random(n))
    near = sorted(range(n), key=lambda p: (p // GRID - centre // GRID) ** 2 + (p % GRID - centre % GRID) ** 2)
    sizes = int(rng.geometric(0.3)), int(rng.geometric(0.15)), int(rng.geometric(0.12))
    enough, breaking, targeted = 0 if i == 8 else sizes[0], min(sizes[1], n - 1), min(sizes[2], n - 1)
    into = label if i % 2 else (predicted + 1) % classes
    into = label if into == predicted else into
    return {
        **same,
        "insertion_order": near[:enough], "insertion_values": np.linspace(-6, 0.4, enough + 1).tolist(),
        "sufficient_size": None if i == 9 else enough, "sufficient_found": i != 9,
        "deletion_order": near[:breaking], "deletion_values": np.linspace(2.1, -0.3, breaking + 1).tolist(),
        "breaking_size": breaking, "breaking_found": True, "broken_into": into,
        "targeted_order": scatter[:targeted].tolist(), "targeted_size": targeted if i % 7 != 6 else None,
        "targeted_found": i % 7 != 6, "support_order": near[:3], "support_values": [1.0, 0.5, 0.2, -0.1],
        "support_size": 3, "support_found": True, "near_ties": 0, "spread": 2.5,
    }  # fmt: skip


def _counterfactuals(
    rng: np.random.Generator, i: int, predicted: int, label: int, detailed: bool
) -> list[dict[str, Any]]:
    """Trust goes round the four words; error 1 was refused, the wrong-class change of error 7 is not valid."""
    same: dict[str, Any] = dict(status="ok", reason=None, predicted_start=predicted, p=1.5, temperature=1.0,
                                forwards=90, backwards=80)  # fmt: skip
    names = (
        "role",
        "target",
        "eps",
        "valid",
        "valid_u8",
        "predicted_end",
        "probability_target_start",
        "probability_target_end",
        "probability_target_u8",
        "probability_source_start",
        "probability_source_end",
        "probability_true_start",
        "probability_true_end",
        "margin_end",
        "norm",
        "norm_u8",
        "pix90",
        "l0",
        "object_share",
        "gap",
        "steps",
        "ending",
        "trajectory",
        "trust",
        "trust_score",
        "trust_reason",
    )
    nothing = dict.fromkeys(names)
    if i == 1 or not detailed:
        reason = "the gradient is zero everywhere" if i == 1 else None
        return [{**same, "status": "refused" if i == 1 else "skipped", "reason": reason, **nothing}]
    found = []
    for j, (role, target) in enumerate((("true", label), ("wrong", predicted))):
        start, end = (0.03, 0.82) if role == "true" else (0.6, 0.97)
        trust = ("semantic", "adversarial", "semantic", "undecided", "unchecked")[(i + 2 * j) % 5]
        valid = not (i == 7 and role == "wrong")
        steps = np.linspace(0, 1, 31)
        reason = {
            "semantic": "2 of 2 judges agree beyond the controls, and the change lasts",
            "adversarial": "its gradients have no common direction (cosine 0.12 under small noise)",
            "undecided": "1 of 2 judges agree; the change lasts and gradients keep their direction",
        }.get(trust)
        for share in (0.5, 1.0):  # two radii; the pictures are those of the larger
            found.append({
                **same, "role": role, "target": target, "eps": 5.6 * share, "valid": valid, "valid_u8": valid,
                "predicted_end": target if valid else label, "probability_target_start": start,
                "probability_target_end": end * share, "probability_target_u8": end * share,
                "probability_source_start": 0.6, "probability_source_end": 0.1, "probability_true_start": 0.03,
                "probability_true_end": 0.5, "margin_end": 1.2, "norm": 5.5 * share, "norm_u8": 5.52 * share,
                "pix90": 0.41, "l0": 0.45, "object_share": 0.3 if i % 3 == 0 else None, "gap": 0.02, "steps": 30,
                "ending": "steps", "trajectory": np.log(start + (end - start) * steps**0.4).tolist(), "trust": trust,
                "trust_score": float(rng.uniform(-1, 2)), "trust_reason": reason,
            })  # fmt: skip
    return found


def _view(method: str, rows: list[dict[str, Any]]) -> pa.Table:
    """The view of a method with the columns and types that its result declares, null where a row does not say."""
    schema = get_type_hints(resolve(find_method(method).function))["return"].schema()
    lists = shown_as_rows(schema)
    declared = {field.name: field.type.value_type if field.name in lists else field.type for field in schema}
    added = [name for name in rows[0] if name not in declared and name in (*_ABOUT, *_FROM_CONTROLS, "detailed")]
    given = pa.Table.from_pylist([{name: row[name] for name in added} for row in rows])
    kinds = {**{field.name: field.type for field in given.schema}, **declared}
    assert set().union(*rows) <= set(kinds), f"{method} has no column {set().union(*rows) - set(kinds)}"
    return pa.Table.from_pylist(rows, schema=pa.schema(list(kinds.items())))


def _empty(like: pa.Table, columns: list[str]) -> pa.Table:
    fields = [like.schema.field(name) if name in like.schema.names else pa.field(name, pa.string()) for name in columns]
    return pa.schema(fields).empty_table()


def _meta(names: list[str], methods: tuple[str, ...], images: int) -> dict[str, Any]:
    return {
        "schema": 1,
        "whywrong": "0.1.0",
        "created": "2026-01-02T03:04:05Z",
        "model": {"source": "timm:mobilenetv2_100", "identity": "c0ffee" * 8, "access": "internals", "classes": names,
                  "wnids": None, "input": {"height": 64, "width": 64, "resize": 72}},
        "data": {"source": {"path": "data/photos"}, "items": images, "ignored": {"hidden": 2}, "warnings": []},
        "seed": 0,
        "depth": "quick",
        "limit": 200,
        "methods": {
            name: {"hash": "12ab", "config": {"samples": 4, "radius": 0.5}, "result_version": 1} for name in methods
        },
        "health": [{"level": "warn", "text": "accuracy is near chance"}],
        "versions": {"python": "3.11", "torch": "2.5"},
        "machine": "8 cores",
    }  # fmt: skip


def _blob(rng: np.random.Generator, rows: int, cols: int) -> np.ndarray:
    y, x = np.mgrid[0:rows, 0:cols]
    total = np.zeros((rows, cols))
    for sign in (1, 1, -1):
        cy, cx, r = rng.uniform(0, rows), rng.uniform(0, cols), rng.uniform(0.12, 0.3) * rows
        total += sign * rng.uniform(0.5, 1) * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * r * r))
    return total


def _fill(run: FakeRun, wrong, fixes, cams, photos, side: int, rng: np.random.Generator) -> None:
    for i, row in enumerate(wrong):
        photo = photos[i % len(photos)] if photos else drawn_photo(i)
        photo = photo.convert("RGB")
        photo.thumbnail((320, 320))
        buffer = io.BytesIO()
        tiny = max(photo.size) < 64
        photo.save(buffer, "PNG" if tiny else "JPEG", **({} if tiny else {"quality": 82}))
        w, h = photo.size
        edge = min(w, h) * (1 if tiny else 0.875)
        x0, y0 = (w - edge) / 2 / w, (h - edge) / 2 / h
        run.thumbs[row["item_id"]] = {"jpeg": buffer.getvalue(), "width": w, "height": h, "x0": x0, "y0": y0,
                                      "x1": 1 - x0, "y1": 1 - y0}  # fmt: skip
    for row in cams:
        if row["status"] == "ok":
            difference = _blob(rng, row["rows"], row["cols"])
            difference *= row["evidence"] / max(abs(difference.sum()), 1e-6)
            run.stored["cam", row["item_id"]] = {"difference": difference.astype(np.float32)}
    for row in fixes:
        if row["detailed"]:
            fine = _blob(rng, side, side) + rng.normal(0, 0.6, (side, side))
            mask = _blob(rng, side, side) > 0.6
            change = np.where(rng.random((3, side, side)) < 0.2, rng.integers(-1, 2, (3, side, side)), 0)
            image = rng.integers(1, 255, (3, side, side)).astype(np.uint8)
            run.stored["inverted", row["item_id"]] = {
                "contribution": (2.5 * fine / abs(fine.sum())).astype(np.float32),
                "region_mask": mask.astype(np.float32),
                "image_u8": image,
                "fix_u8": (image + change).astype(np.uint8),
            }


def _fill_patch_groups(run: FakeRun, groups: list[dict[str, Any]]) -> None:
    for row in groups:
        if row["status"] == "ok":
            maps = run.stored["patch_groups", row["item_id"]] = {}
            for name, path in (("sufficient", "insertion"), ("breaking", "deletion"), ("targeted", "targeted")):
                heat, order = np.zeros(GRID * GRID, dtype=np.float32), row[f"{path}_order"]
                heat[order] = 1 - np.arange(len(order)) / max(len(order), 1)
                maps[name] = heat.reshape(GRID, GRID)


def _fill_counterfactuals(run: FakeRun, changed: list[dict[str, Any]], side: int) -> None:
    for row in changed:
        if row["status"] != "ok":
            continue
        stored = run.stored.setdefault(("counterfactuals", row["item_id"]), {})
        if "image_u8" not in stored:
            thumb = Image.open(io.BytesIO(run.thumbs[row["item_id"]]["jpeg"])).convert("RGB")
            stored["image_u8"] = np.moveaxis(np.asarray(thumb.resize((side, side))), -1, 0)
        rng = np.random.default_rng((int(row["item_id"], 16), row["role"] == "true"))
        blob = 90 * _blob(rng, side, side)[None] * rng.uniform(0.2, 1, (3, 1, 1))
        after = np.clip(stored["image_u8"] + blob, 0, 255).astype(np.uint8)
        stored[f"{row['role']}_u8"] = after
        change = (after.astype(np.float32) - stored["image_u8"]).sum(0) / 255
        stored[f"{row['role']}_change"] = change.astype(np.float32)
