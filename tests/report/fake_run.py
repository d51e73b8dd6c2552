# ruff: noqa: C408  (keywords read better than quoted keys in these long rows)
"""A run in memory with the views, maps and thumbnails of a run folder, filled with made-up but consistent numbers."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from PIL import Image, ImageDraw

_NOTHING = dict(predicted=0, confidence=0.0, true_confidence=0.0, rank_of_true=1, margin=0.0, near_tie=False, top5=[0],
                top5_confidence=[0.0], width=1, height=1, notes=[""])  # fmt: skip
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


def make_run(
    path: Path,
    *,
    images: int = 30,
    errors: int = 12,
    classes: list[str] | None = None,
    keys: list[str] | None = None,
    photos: list[Image.Image] | None = None,
    methods: tuple[str, ...] = ("inverted", "cam"),
    audited: bool = True,
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
            wrong.append({**row, "key": key, "label_name": names[label or 0], "predicted_name": names[predicted]})
            if same is None:
                fixes.append({**base, "predicted": predicted, **_fix(rng, i, audited)})
                cams.append({**base, "predicted": predicted, **_cam(rng, i)})
    tables = {"items": pa.Table.from_pylist(items)}
    if predictions:
        full = {**_NOTHING, **max(predictions, key=len)}
        tables["predictions"] = pa.Table.from_pylist([{**dict.fromkeys(full), **row} for row in predictions])
        columns = {**dict.fromkeys(full), "key": "", "label_name": "", "predicted_name": ""}
        tables["errors"] = (
            pa.Table.from_pylist(wrong) if wrong else _empty(tables["predictions"], [*columns])  # same columns, no row
        )
    lost = [{"item_id": r["item_id"], "key": items[int(r["item_id"], 16)]["key"], "stage": "predictions",
             "reason": r["reason"]} for r in predictions if r["status"] == "failed"]  # fmt: skip
    text = [("item_id", pa.string()), ("key", pa.string()), ("stage", pa.string()), ("reason", pa.string())]
    tables["failed_items"] = pa.Table.from_pylist(lost, schema=pa.schema(text))
    if "inverted" in methods and fixes:
        tables["inverted"] = pa.Table.from_pylist(fixes)
    if "cam" in methods and cams:
        tables["cam"] = pa.Table.from_pylist(cams)
    run = FakeRun(path, _meta(names, methods, images), tables)
    _fill(run, wrong, fixes if "inverted" in methods else [], cams if "cam" in methods else [], photos, side, rng)
    return run


def _fix(rng: np.random.Generator, i: int, audited: bool) -> dict[str, Any]:
    fixed = i % 11 != 7
    linf = float(rng.lognormal(-0.9, 1.1)) / 255
    grade = ("meaningful", "mixed", "noise-like")[(i * 7) % 3]
    passed = {"meaningful": ["class", "random", "small_noise"], "mixed": ["class", "random"], "noise-like": []}[grade]
    row: dict[str, Any] = dict(
        status="fixed" if fixed else "not_fixed_in_budget", q_candidates=1 if fixed else 70, q_shrink=14, forwards=60,
        backwards=30, rho_l2=linf * 20, rho_linf=linf, l0=4000, l1=linf * 900, l2=linf * 21, linf=linf * 3,
        rho_lin_l2=linf * 19, rho_lin_linf=linf * 0.95, margin_before=2.5, margin_after=-0.02,
        u8_fixed=fixed and i % 5 != 4,
        u8_l2=linf * 30, u8_linf=1 / 255, unstable=i == 3,
    )  # fmt: skip
    detailed = audited and fixed
    region = {"segment": 12, "share": 0.41, "area": 0.031, "lift": 13.2, "sufficient": True, "necessary": False}
    details: dict[str, Any] = dict(
        region_fixed=True, region_count=1 + i % 3, region_area=0.02 * (1 + i % 3), region_l2=linf * 40,
        region_linf=linf * 9, regions=[region, {**region, "segment": 31, "share": 0.12, "sufficient": False}],
        contribution_residual=0.004, object_lift=1.8 if i % 3 == 0 else None,
        object_lift_p=0.01 if i % 3 == 0 else None,
        rank_of_true_label=1, rank_of=10, distance_ratio=0.21, random_rate=0.05, small_noise_rate=0.9,
        checks_ran=["class", "random", "small_noise"], checks_passed=passed, grade=grade,
    )  # fmt: skip
    return row | {"detailed": detailed} | (details if detailed else dict.fromkeys(details))


def _cam(rng: np.random.Generator, i: int) -> dict[str, Any]:
    if i == 5:
        return dict(status="refused", reason="the sum misses the logits by 12 %", layer="blocks.6", kind="cam",
                    exact=True, residual=0.12, evidence=None, rows=7, cols=7, forwards=1, backwards=0)  # fmt: skip
    return dict(status="ok", reason=None, layer="blocks.6", kind="cam", exact=True, residual=1e-6,
                evidence=float(rng.gamma(2, 1.5)), rows=7, cols=7, forwards=1, backwards=0)  # fmt: skip


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
