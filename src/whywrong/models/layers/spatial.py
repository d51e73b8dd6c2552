"""Find and read the last layer of a classifier that keeps spatial positions.

The layer is the last activation that (1) can be read as a grid, (2) receives a gradient at every position,
and (3) is on every path from the pixels to the logits. In a transformer with a class token, the last block uses the
patch tokens only through its attention. The input of that attention is taken, since later patch tokens receive no
gradient (ours, docs/methods/cam.md).
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from typing import TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from whywrong.core.access import Access
from whywrong.core.errors import ModelError, ModelRaisedError
from whywrong.core.randomness import keyed_sign, keyed_uniform, row_keys
from whywrong.models.classifier import Classifier
from whywrong.models.layers.capture import SpatialLayer, capture
from whywrong.models.layers.grids import Layout, keeps_order, layout
from whywrong.models.layers.heads import find_linear_head
from whywrong.models.layers.tracing import Step, Trace, record
from whywrong.models.memory import out_of_memory

_COMPLETE = 1e-4  # tolerance of gradient times activation plus constant, as a share of its absolute sum
_LATEST = 8  # steps tried as input of the last attention; keys and values may precede it

T = TypeVar("T")

_FOUND: WeakKeyDictionary[Classifier, dict[tuple[tuple[int, int, int], str | None], SpatialLayer]] = WeakKeyDictionary()


def find_spatial_layer(
    module: nn.Module,
    input_size: tuple[int, int, int],
    *,
    name: str | None = None,
    forward: Callable[[Tensor], Tensor] | None = None,
) -> SpatialLayer:
    """Find the last spatial layer with one recorded pass over synthetic images.

    Args:
        module: The classifier; left unchanged.
        input_size: (C, H, W) of its images.
        name: Module to use instead of searching.
        forward: Maps images to logits (B, K) through ``module``, if that takes more than calling it.

    Returns:
        The layer, at every position of which a gradient was measured.

    Raises:
        ModelError: No layer can be found, or the named one is not suitable.
    """
    with Classifier(module) as classifier, torch.inference_mode(False):
        ask = forward or classifier.ask
        images = _made_up_images(input_size, classifier.device)
        while True:
            try:
                return _find(module, images, ask, name)
            except Exception as error:
                # Some models accept one image at a time, and large ones may leave no memory for more.
                if len(images) == 1 or not (isinstance(error, ModelRaisedError) or out_of_memory(error)):
                    raise
                images = images[-1:]


def spatial_layer(classifier: Classifier, input_size: tuple[int, int, int], name: str | None = None) -> SpatialLayer:
    """Find the last spatial layer of a classifier, once per classifier.

    See :func:`find_spatial_layer`. The synthetic images are not counted as queries.

    Raises:
        AccessError: The classifier grants no access to its layers.
        ModelError: For the same reasons as in :func:`find_spatial_layer`.
    """
    classifier.require(Access.INTERNALS, "finding a spatial layer")
    known = _FOUND.setdefault(classifier, {})
    if (input_size, name) not in known:
        assert classifier.module is not None
        before = classifier.forwards
        try:
            with classifier:
                found = find_spatial_layer(classifier.module, input_size, name=name, forward=classifier.ask)
        finally:
            classifier.forwards = before
        known[input_size, name] = found
    return known[input_size, name]


def read_layer(
    classifier: Classifier,
    x: Tensor,
    layer: SpatialLayer,
    finish: Callable[[Tensor, Tensor, slice], T],
    *,
    gradients: int = 0,
    raised: dict[int, Exception] | None = None,
) -> list[T]:
    """Pass the logits and activation of images to ``finish``, in passes that fit.

    Args:
        classifier: Classifier with the layer ``layer``.
        x: (B, C, H, W), in [0, 1].
        layer: Spatial layer of ``classifier``.
        finish: Maps logits (b, K), activation (b, ...) and the slice of rows to the result that is kept.
        gradients: Number of gradients at the layer that ``finish`` computes; each counts as a backward pass, although
            it ends at the layer. With 0 no graph is built.
        raised: Receives the errors of rows on which the model raises; if None, the first one is raised.

    Returns:
        Results of ``finish``, one per pass.
    """
    module = classifier.module
    assert module is not None

    def run(rows: slice) -> T:
        images = x[rows]  # not while the number of earlier function calls may identify a layer
        with torch.set_grad_enabled(gradients > 0):
            with capture(module, layer, leaf=gradients > 0) as seen:
                logits = classifier.ask(images)
            kept = finish(logits, seen.activation, rows)
        classifier.backwards += gradients * len(logits)
        return kept

    return classifier._run(x, run, raised)


def _find(module: nn.Module, x: Tensor, ask: Callable[[Tensor], Tensor], name: str | None) -> SpatialLayer:
    trace = record(module, x, ask)
    if not (isinstance(trace.logits, Tensor) and trace.logits.ndim == 2 and trace.logits.requires_grad):
        raise ModelError(
            f"no spatial layer found in {_title(module)}: no gradient leads from its scores (B, K) to the pixels"
        )
    step, grid = _last(trace, module) if name is None else _named(trace, name, module)
    layer = SpatialLayer(
        name=step.module if step.module is not None else f"{step.op}[{step.occurrence}]",
        kind="tokens" if grid.tokens else "conv",
        layout=grid,
        shape=step.shape[1:],
        op=None if step.module is not None else step.op,
        occurrence=step.occurrence,
        constant=trace.logits.detach()[0],
    )
    with torch.no_grad(), capture(module, layer, scale=0.0):
        constant = ask(x)[0].float()
    with torch.enable_grad(), capture(module, layer, leaf=True) as seen:
        logits = ask(x).float()
    activation = seen.activation.detach()
    head = find_linear_head(trace, layer.layout, activation, logits.detach())
    complete = _is_complete(logits, seen.activation, constant)
    if complete:  # also test far from zero, where a smooth nonlinearity is clearly not linear
        scale = max(10.0, 10.0 / max(float(activation.abs().mean()), 1e-12))
        with torch.enable_grad(), capture(module, layer, leaf=True, scale=scale) as seen:
            logits = ask(x).float()
        complete = _is_complete(logits, seen.activation, constant)
    return replace(layer, constant=constant, complete=complete, head=head)


def _is_complete(logits: Tensor, activation: Tensor, constant: Tensor) -> bool:
    """Return whether gradient times activation sums to the logits, for three random sums of logits."""
    tolerance = max(_COMPLETE, 8 * torch.finfo(activation.dtype).eps)
    for draw in range(3):
        value, at_zero = _probe(logits, draw), _probe(constant[None], draw)
        grad = torch.autograd.grad(value.sum(), activation, retain_graph=True)[0]
        product = (grad * activation).detach().float().flatten(1)
        gap = (product.sum(1) + at_zero - value.detach()).abs()
        if not bool((gap <= tolerance * product.abs().sum(1) + 1e-6 * at_zero.abs()).all()):
            return False
    return True


def _made_up_images(input_size: tuple[int, int, int], device: torch.device) -> Tensor:
    """Return synthetic images (3, C, H, W) in [0, 1].

    One is pixel noise, two are coarse noise, which saturates fewer units.
    """
    channels, height, width = input_size
    keys = row_keys(0, 3, device)
    fine = keyed_uniform(keys[:1], (channels, height, width))
    coarse = keyed_uniform(keys[1:], (channels, 4, 4))
    coarse = nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    return torch.cat([fine, (coarse + 0.2 * (keyed_uniform(keys[1:], fine.shape[1:], 1) - 0.5)).clamp(0, 1)])


def _probe(logits: Tensor, draw: int = 0) -> Tensor:
    """Return a random signed sum of the logits, (B,)."""
    signs = keyed_sign(row_keys(draw, 1, logits.device), logits.shape[1:])
    return (logits * signs).sum(1)


def _last(trace: Trace, module: nn.Module) -> tuple[Step, Layout]:
    grads = trace.gradients(_probe(trace.logits).sum(), trace.steps)
    beside: list[tuple[Step, Tensor]] = []
    for step, grad in zip(reversed(trace.steps), reversed(grads), strict=True):
        if grad is None or not grad.any():
            continue
        if step.edge.node not in trace.cuts():
            beside.append((step, grad))
            continue
        grid = layout(trace, step)
        if grid is not None and _reaches_all(grid, grad) and keeps_order(trace, step, grid):
            return _attention_input(trace, step, grid, beside), grid
    raise ModelError(
        f"no spatial layer found in {_title(module)}: no activation on every path from pixels to logits can be read as "
        "a grid that reaches the logits at all places (several branches, or tokens that were reordered); "
        "name one with the setting layer"
    )


def _reaches_all(grid: Layout, grad: Tensor) -> bool:
    return bool((grid.patches(grad) != 0).any(1).any(0).all())


def _attention_input(trace: Trace, cut: Step, grid: Layout, later: list[tuple[Step, Tensor]]) -> Step:
    """Return the latest step of the same shape through which all patch tokens act, otherwise ``cut`` itself."""
    value = _probe(trace.logits).sum()
    alike = ((step, grad) for step, grad in later if step.shape == cut.shape and _reaches_all(grid, grad))
    for step, grad in islice(alike, _LATEST):  # last first
        with trace.replaced(step, torch.zeros_like(grad)):
            rest = trace.gradients(value, [cut])[0]
        if rest is None or not grid.patches(rest).any():
            return step
    return cut


def _named(trace: Trace, name: str, module: nn.Module) -> tuple[Step, Layout]:
    known = [other for other, _ in module.named_modules() if other]
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
        hint = f'; nearest: "{near[0]}"' if near else ""
        raise ModelError(f'{_title(module)} has no layer "{name}"{hint}')
    step = trace.answers.get(name)
    grid = layout(trace, step) if step else None
    if step is None or grid is None or not keeps_order(trace, step, grid):
        raise ModelError(f'layer "{name}" of {_title(module)} does not answer with a grid of known places')
    grad = trace.gradients(_probe(trace.logits).sum(), [step])[0]
    if grad is None or not grid.patches(grad).any():
        raise ModelError(f'no place of layer "{name}" of {_title(module)} reaches the logits; take an earlier one')
    return step, grid


def _title(module: nn.Module) -> str:
    inner = list(module.children())
    part = inner[-1] if isinstance(module, nn.Sequential) and inner else module
    architecture = (getattr(part, "default_cfg", None) or {}).get("architecture")
    return f"{type(part).__name__} ({architecture})" if architecture else type(part).__name__
