"""Figures of single results for notebooks, ``ww.plot(result, x)``, drawn with Matplotlib only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from whywrong.core.errors import InputError
from whywrong.core.registry import Method, methods, resolve
from whywrong.core.result import MethodResult
from whywrong.report.reports import report_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor


def plot(result: MethodResult, x: Tensor, *, rows: Sequence[int] | None = None) -> Figure:
    """Draw a result next to the images it explains.

    Args:
        result: What a method returned for ``x``.
        x: The images, (B, C, H, W), in [0, 1].
        rows: Rows to draw; None draws the first four.

    Returns:
        A Matplotlib figure with one row per image; it opens no window and has no global state.

    Raises:
        InputError: ``x`` does not belong to ``result``, a row does not exist, or no registered method draws it.

    Example:
        >>> import torch, whywrong as ww
        >>> classifier = ww.load_classifier("planted:cnn")
        >>> x, y = torch.rand(2, 3, 64, 64), torch.tensor([0, 1])
        >>> ww.plot(ww.cam(classifier, x, y), x).savefig("maps.png")
    """
    if len(x) != len(result.forwards):
        raise InputError(f"x holds {len(x)} images, the result {len(result.forwards)}")
    chosen = list(range(min(4, len(x)))) if rows is None else list(rows)
    if not chosen or not all(0 <= row < len(x) for row in chosen):
        raise InputError(f"rows must be in 0..{len(x) - 1}, got {chosen}")
    home = type(result).__module__
    for method in methods().values():
        package = method.function.partition(":")[0]
        if home == package or home.startswith(package + "."):
            draw = _drawing(method)
            if draw is not None:
                return draw(result, x, chosen)
    raise InputError(f"no registered method draws a {type(result).__name__}")


def _drawing(method: Method) -> Callable[..., Figure] | None:
    """Find the function that draws results of a method, or return None."""
    figure = report_of(method).figure
    return figure or (resolve(method.draw) if method.draw else None)
