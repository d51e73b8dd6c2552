"""Read an activation as a grid, with its channel axis and the position of each token.

Nothing is guessed. The channel axis comes from layers whose channel count is known. The order of the tokens is measured
on the gradient graph, where the gradient of a token must be located at the token's own position.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from whywrong.core.randomness import keyed_sign, row_keys
from whywrong.models.layers.tracing import Step, Trace

MOST_PREFIX_TOKENS = 16  # class, distillation and register tokens; at most 5 are known
_SOURCES_TRIED = 4
_FOLLOWS = 0.8  # correlation of position and centre; tokens out of order are far below it in both directions


@dataclass(frozen=True, slots=True)
class Layout:
    """Layout of an activation.

    Attributes:
        rows, cols: Size of the grid.
        prefix: Number of tokens before those of the grid; 0 for feature maps.
        channel_axis: 1 or -1.
        tokens: Whether the positions form one axis (B, N, C).
    """

    rows: int
    cols: int
    prefix: int
    channel_axis: int
    tokens: bool

    def patches(self, activation: Tensor) -> Tensor:
        """Extract the grid (B, C, rows, cols) of an activation."""
        if self.tokens:
            grid = activation[:, self.prefix :].unflatten(1, (self.rows, self.cols))  # (B, rows, cols, C)
            return grid.movedim(-1, 1)
        return activation if self.channel_axis == 1 else activation.movedim(-1, 1)

    def extra(self, activation: Tensor) -> Tensor:
        """Extract the prefix tokens (B, C, prefix) of an activation."""
        if self.tokens:
            return activation[:, : self.prefix].movedim(-1, 1)
        return activation.new_zeros(len(activation), activation.shape[self.channel_axis], 0)


def layout(trace: Trace, step: Step) -> Layout | None:
    """Find the layout of a step.

    Returns None if it cannot be read as a grid of more than one position.

    For a sequence, grid and prefix are those of the first sequences of its length; :func:`keeps_order` checks whether
    a later one has kept their order.
    """
    axes = trace.channel_axes.get(step.shape, set())
    if len(axes) != 1:  # no layer with a known channel count has this shape, or two disagree
        return None
    axis = next(iter(axes))
    if len(step.shape) == 4:
        rows, cols = step.shape[2:] if axis == 1 else step.shape[1:3]
        return Layout(rows, cols, 0, axis, False) if rows * cols > 1 else None
    if axis == -1 and step.shape[1] > 1:
        return _known(trace, step)[0]
    return None


def keeps_order(trace: Trace, step: Step, grid: Layout) -> bool:
    """Check whether the tokens of a step are still in the order of ``grid``."""
    if not grid.tokens:
        return True
    proof = _known(trace, step)[1]
    if proof is None:
        return _in_place(trace, step, grid, None)
    if step.edge.node is proof.edge.node or _in_place(trace, step, grid, proof):
        return True
    # Sequences of this shape may have other origins, too; a later one may be where the tokens of this one started.
    later = [
        other
        for other in _before(trace, step)
        if other.tensor is not None and other.shape == step.shape and other is not proof
    ]
    return any(_exact(trace, other) == grid and _in_place(trace, step, grid, other) for other in reversed(later))


def _before(trace: Trace, step: Step) -> list[Step]:
    return trace.steps[: next(i for i, other in enumerate(trace.steps) if other.edge.node is step.edge.node)]


def _known(trace: Trace, step: Step) -> tuple[Layout | None, Step | None]:
    """Return the known layout of sequences of this shape, and the sequence in which their order is exact."""
    if step.shape not in trace.token_layouts:
        trace.token_layouts[step.shape] = None, None  # during the search
        trace.token_layouts[step.shape] = _token_layout(trace, step)
    return trace.token_layouts[step.shape]


def _token_layout(trace: Trace, step: Step) -> tuple[Layout | None, Step | None]:
    for sequence in (other for other in trace.steps if other.tensor is not None and other.shape == step.shape):
        grid = _exact(trace, sequence)
        if grid is not None:
            return grid, sequence
    # Tokens may have been merged before: each must depend on its own part of the image.
    for rows, cols in _sizes_by_aspect(step.shape[1], *trace.x.shape[2:]):
        grid = Layout(rows, cols, step.shape[1] - rows * cols, -1, True)
        if _in_place(trace, step, grid, None):
            return grid, None
    return None, None


def _exact(trace: Trace, sequence: Step) -> Layout | None:
    """Find the layout of a sequence whose tokens have not mixed yet.

    Such a sequence is made by flattening a map or by adding tokens.
    """
    for grid, source in _sources(trace, sequence):
        prefix = sequence.shape[1] - grid.rows * grid.cols
        if _is_copied(trace, source, grid, sequence, prefix):
            return replace(grid, prefix=prefix, channel_axis=-1, tokens=True)
    return None


def _sources(trace: Trace, sequence: Step) -> Iterator[tuple[Layout, Step]]:
    """Yield the latest earlier maps and sequences whose positions can be the tokens of ``sequence``."""
    tries = 0
    for step in reversed(_before(trace, sequence)):
        if tries == _SOURCES_TRIED:
            return
        if len(step.shape) == 3 and (step.shape[1] == sequence.shape[1] or step.tensor is None):
            continue
        if len(step.shape) == 3 and abs(step.shape[1] - sequence.shape[1]) > MOST_PREFIX_TOKENS:
            continue
        grid = layout(trace, step)
        if grid is not None and 0 <= sequence.shape[1] - grid.rows * grid.cols <= MOST_PREFIX_TOKENS:
            tries += 1
            yield grid, step


def _sizes_by_aspect(tokens: int, height: int, width: int) -> Iterator[tuple[int, int]]:
    """Yield grids of square cells."""
    for prefix in range(min(MOST_PREFIX_TOKENS, tokens - 2) + 1):
        rows = round(math.sqrt((tokens - prefix) * height / width))
        cols = round(rows * width / height)
        if rows > 1 < cols and rows * cols == tokens - prefix and rows * width == cols * height:
            yield rows, cols


def _is_copied(trace: Trace, source: Step, grid: Layout, sequence: Step, prefix: int) -> bool:
    """Return whether token ``prefix + u`` depends on position u of ``source`` only."""
    places = grid.rows * grid.cols
    for place in sorted({0, 1, places // 3, places // 2, (2 * places) // 3, places - 1}):
        grad = _token_gradient(trace, sequence, prefix + place, source)
        if grad is None:
            return False
        strength = grid.patches(grad).abs().sum((0, 1)).flatten()  # (places,)
        if not (strength[place] > 0 and strength.sum() == strength[place]):
            return False
    return True


def _in_place(trace: Trace, step: Step, grid: Layout, source: Step | None) -> bool:
    """Return whether each token depends on its own part of ``source`` or of the pixels.

    The centre of a token's gradient must move with the token's position, at corners, edges and middle of the grid.
    """
    moved: list[list[float]] = []
    for row in sorted({0, grid.rows // 2, grid.rows - 1}):
        for col in sorted({0, grid.cols // 2, grid.cols - 1}):
            grad = _token_gradient(trace, step, grid.prefix + row * grid.cols + col, source)
            if grad is None:
                return False
            strength = (grad if source is None else grid.patches(grad)).abs().sum((0, 1)).double()  # (h, w)
            strength = strength / strength.sum().clamp_min(1e-300)
            down, right = (torch.arange(n, dtype=strength.dtype, device=strength.device) for n in strength.shape)
            moved.append([row, col, float(strength.sum(1) @ down), float(strength.sum(0) @ right)])
    table = torch.tensor(moved, dtype=torch.float64).T  # place and centre: row, column, row, column
    for place, centre, size in ((table[0], table[2], grid.rows), (table[1], table[3], grid.cols)):
        if size > 1 and not float(torch.corrcoef(torch.stack([place, centre]))[0, 1]) > _FOLLOWS:
            return False
    return True


def _token_gradient(trace: Trace, sequence: Step, token: int, source: Step | None) -> Tensor | None:
    """Compute the gradient of a random signed sum of one token's channels, at ``source`` or at the pixels."""
    signs = keyed_sign(row_keys(token, 1, trace.x.device), sequence.shape[2:])[0]
    target = trace.x if source is None else source.edge
    if sequence.tensor is not None:
        value = (sequence.tensor[:, token] * signs).sum()
        return torch.autograd.grad(value, target, retain_graph=True, allow_unused=True)[0]
    pull = torch.zeros(sequence.shape, dtype=trace.logits.dtype, device=trace.x.device)
    pull[:, token] = signs
    if sequence.edge.node in trace.cuts():
        with trace.replaced(sequence, pull):
            return torch.autograd.grad(trace.logits.sum(), target, retain_graph=True, allow_unused=True)[0]
    return torch.autograd.grad(sequence.edge, target, grad_outputs=pull, retain_graph=True, allow_unused=True)[0]
