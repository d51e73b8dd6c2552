"""Text of ``whywrong diagnose --plan``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from whywrong.cli.streams import count, printable, tell

if TYPE_CHECKING:  # the command line answers --help without torch
    from whywrong.runs.forecast import Forecast


def tell_plan(found: Forecast, out: Path | None) -> None:
    """Print what a run would read, compute and write."""
    tell("Plan; nothing was written.")
    rows = [("images", _images(found)), ("sample", _sample(found)), ("model", _model(found))]
    rows.append(("predict", count(found.images, "pass", "passes")))
    for one in found.methods:
        plain, full = one.per_error
        each = f"{full:,}" if plain == full else f"{plain:,}, or {full:,} in full,"
        rows.append((one.name, f"{_range(one.low, one.high)} passes, typically {each} an error"))
    rows += [(name, printable(f"would not run: it {reason}")) for name, reason in found.refused.items()]
    low, high = found.passes()
    rows.append(("total", f"{_range(low, high)} passes, about {_time(found)} with {count(found.workers, 'worker')}"))
    where = f" in {out}" if out is not None else ""
    rows.append(("writes", f"at most {count(found.files, 'file')}{where}"))
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        tell(f"  {name:<{width}}  {text}")


def _images(found: Forecast) -> str:
    text = count(found.images, "image")
    if found.images < found.items:
        text += f" of {found.items:,}, drawn at random"
    return f"{text}; the data makes {count(found.shards, 'shard')} of up to {found.shard_items:,}"


def _sample(found: Forecast) -> str:
    if not found.sampled:
        return "no labelled image of it got a valid answer, so the number of errors is unknown"
    expected = _range(int(found.errors.low), int(found.errors.high))
    return f"{found.wrong} of {found.sampled} misclassified, so expect {expected} errors (95 % interval)"


def _model(found: Forecast) -> str:
    return (
        f"{1000 * found.seconds_per_pass:.3g} ms a pass on {found.device}, in batches of {found.batch_size:,}; "
        f"{1000 * found.seconds_per_image:.3g} ms to read an image"
    )


def _range(low: int, high: int) -> str:
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _time(found: Forecast) -> str:
    low, high = found.seconds()
    for unit, size in (("h", 3600), ("min", 60), ("s", 1)):
        if high >= 1.5 * size or size == 1:
            least, most = math.ceil(low / size), math.ceil(high / size)
            return f"{_range(least, most)} {unit}"
    raise AssertionError
