"""What the difference of two images takes from one score and adds to another, cell by cell.

Source: Xu, Liu, Zhang, Sun, Zhao, Fan, Gan and Lin 2019, arXiv 1904.02057, for attacks; for the errors of a classifier,
with their smallest fix in the place of the clean image, ours, docs/methods/suppression.md.
"""

from __future__ import annotations

import torch
from torch import Tensor

from whywrong.attacks.inverted import InvertedConfig, invert
from whywrong.core.access import Access
from whywrong.core.checks import bad_rows, check_images
from whywrong.core.errors import InputError
from whywrong.core.margins import best_other
from whywrong.core.status import Status
from whywrong.doors.methods import open_inputs
from whywrong.explain.suppression.config import SuppressionConfig
from whywrong.explain.suppression.measures import looks_like_probabilities
from whywrong.explain.suppression.measuring import PROBABILITIES, PairCall, given_cells
from whywrong.explain.suppression.result import SuppressionResult
from whywrong.models.classifier import Classifier
from whywrong.models.method_call import MethodCall

NO_FIX = "no fix of the error was found to compare it with"


@open_inputs
def suppression(
    classifier: Classifier,
    x: Tensor,
    y: Tensor,
    *,
    keys: Tensor | None = None,
    detail: Tensor | None = None,
    fixes: Tensor | None = None,
    config: SuppressionConfig | None = None,
) -> SuppressionResult:
    """Compare each error with its smallest fix, cell by cell.

    Suppression is what the image, as it is, takes from the score of its label, and promotion what it adds to the score
    of the predicted class, compared with the fix.

    Args:
        classifier: Images (B, C, H, W) in [0, 1] to logits (B, K); grants gradients.
        x: Images, (B, C, H, W), floating point, in [0, 1]; left untouched.
        y: True classes, (B,), int64, in 0..K-1.
        keys: Seed of each image's random signs and orders, (B,), int64; default (config.seed, row).
        detail: (B,) bool, rows to explain; None explains all.
        fixes: (B, C, H, W), floating point, known fixes of these images, NaN in rows without one. A fix that is not
            predicted as the label, and a missing one, is searched with :func:`whywrong.attacks.inverted.invert`.
        config: Settings; None uses the defaults.

    Returns:
        Effects and types of the cells, with controls. Besides the fix, a grid of G cells takes G + 2 forward passes,
        12 for the quarters, G + 1 for the control, and 2 for the maps.

    Raises:
        InputError: A shape, type or class breaks the contract above.
        AccessError: The classifier grants no gradients.
        NotDifferentiableError: No gradient reaches the pixels.

    Example:
        >>> import torch, whywrong as ww
        >>> classifier = ww.load_classifier("planted:cnn")
        >>> x, y = torch.rand(2, 3, 64, 64), torch.tensor([0, 1])
        >>> ww.suppression(classifier, x, y).s.shape
        torch.Size([2, 8, 8])
    """
    config = config or SuppressionConfig()
    with MethodCall(
        classifier,
        x,
        y,
        method="suppression",
        access=Access.GRADIENTS,
        keys=keys,
        seed=config.seed,
        detail=detail,
        skips=True,
    ) as call:
        pairs = PairCall(call, config, extends=True)
        rows, logits = call.clean_pass(correct=Status.ALREADY_CORRECT)
        if len(rows):
            ref, at_ref, fixed = _fixes(call, rows, fixes)
            call.mark(rows[~fixed], Status.NO_ANSWER, NO_FIX)
            rows, ref, at_ref, logits = rows[fixed], ref[fixed], at_ref[fixed], logits[fixed]
            classes = torch.stack([call.y[rows], logits.argmax(1)], 1)
            _measure(pairs, rows, ref, classes, torch.stack([at_ref, logits], 1))
        return pairs.result("fix")


def promotion_suppression(
    classifier: Classifier,
    x_ref: Tensor,
    x_alt: Tensor,
    a: Tensor,
    b: Tensor | None = None,
    *,
    masks: Tensor | None = None,
    keys: Tensor | None = None,
    config: SuppressionConfig | None = None,
) -> SuppressionResult:
    """Compare two aligned images, cell by cell, as a clean and a corrupted or attacked one.

    Suppression is what the change from ``x_ref`` to ``x_alt`` takes from the score of ``a``, and promotion what it adds
    to the score of ``b``.

    Args:
        classifier: Images (B, C, H, W) in [0, 1] to logits (B, K); grants scores, and gradients for ``path``.
        x_ref: (B, C, H, W), floating point, in [0, 1]; left untouched.
        x_alt: (B, C, H, W), the same images with the change; left untouched.
        a: (B,) int64, the class that the change suppresses, usually that of ``x_ref``.
        b: (B,) int64, the class that it promotes; None takes the predicted class of ``x_alt``, or the runner-up if that
            is ``a``.
        masks: (G, H, W) or (B, G, H, W) bool, disjoint cells that cover the image; None takes those of the settings.
        keys: Seed of each pair's random signs and orders, (B,), int64; default (config.seed, row).
        config: Settings; None uses the defaults.

    Returns:
        Effects and types of the cells, with the same change under random signs as control. ``flipped`` is False for a
        pair that is not predicted as ``a`` and then as ``b``.

    Raises:
        InputError: A shape, type, pixel, class or mask breaks the contract above; the message names argument and row.
        AccessError: The classifier grants too little.

    Example:
        >>> import torch, whywrong as ww
        >>> classifier = ww.load_classifier("planted:cnn")
        >>> clean = torch.rand(2, 3, 64, 64)
        >>> noisy = (clean + 0.1 * torch.rand_like(clean)).clamp(0, 1)
        >>> found = ww.promotion_suppression(classifier, clean, noisy, classifier.predict(clean))
        >>> found.pair
        'given'
    """
    config = config or SuppressionConfig()
    _check_pair(x_ref, x_alt)
    access = Access.GRADIENTS if config.mode == "path" else Access.SCORES
    with MethodCall(
        classifier, x_alt, a, method="promotion_suppression", access=access, keys=keys, seed=config.seed
    ) as call:
        if b is not None:
            call.add_classes("class b", b)
            _check_different(call.y, b.to(call.y.device))
        pairs = PairCall(call, config, given_cells(masks, call.x))
        rows = call.rows
        if len(rows):
            ref = x_ref.detach().to(call.x)
            logits = torch.stack([call.logits(rows, ref), call.logits(rows, call.x)], 1)
            if b is None:
                top = logits[:, 1].argmax(1)
                b = torch.where(top == call.y, best_other(logits[:, 1], call.y), top)
            _measure(pairs, rows, ref, torch.stack([call.y, b.to(call.y.device)], 1), logits)
        return pairs.result("given")


def _measure(pairs: PairCall, rows: Tensor, ref: Tensor, classes: Tensor, logits: Tensor) -> None:
    remarked = looks_like_probabilities(logits).all(1)
    pairs.call.mark(rows[remarked], Status.OK, PROBABILITIES)
    pairs.measure(rows, ref, classes, logits)


def _fixes(call: MethodCall, rows: Tensor, known: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Take the known fixes that hold, and search the others.

    Returns the fixes (n, C, H, W), their logits (n, K), and whether there is one (n,) bool.
    """
    x = call.x[rows]
    ref, fixed = x.clone(), torch.zeros_like(rows, dtype=torch.bool)
    logits = x.new_full((len(rows), call.classifier.num_classes), torch.nan)

    def test(some: Tensor, pixels: Tensor) -> None:
        found = call.logits(rows[some], pixels)
        right = found.isfinite().all(1) & (found.argmax(1) == call.y[rows[some]])
        held = some[right]
        ref[held], logits[held], fixed[held] = pixels[right], found[right].to(logits), True

    if known is not None:
        given = _check_fixes(known, call.x)[rows]
        some = (~bad_rows(given)).nonzero().flatten()
        if len(some):
            test(some, given[some])
    missing = (~fixed).nonzero().flatten()
    if len(missing):
        searched = rows[missing]
        found = invert(
            call.classifier,
            x[missing],
            call.y[searched],
            keys=call.keys[searched],
            detail=torch.zeros_like(fixed[missing]),
            config=InvertedConfig(polish_other=0),
        )
        call.count(searched, found.forwards, found.backwards)
        levels = found.fix_u8.float() / 255
        pixels = torch.where(found.u8_fixed.view(-1, 1, 1, 1), levels, x[missing] + found.delta)
        there = found.fixed
        if bool(there.any()):
            test(missing[there], pixels[there].to(x))
    return ref, logits, fixed


def _check_fixes(fixes: Tensor, x: Tensor) -> Tensor:
    check_images(fixes)
    if fixes.shape != x.shape:
        raise InputError(f"fixes must have the shape of the images {tuple(x.shape)}, got {tuple(fixes.shape)}")
    return fixes.detach().to(x)


def _check_pair(x_ref: Tensor, x_alt: Tensor) -> None:
    for name, images in (("x_ref", x_ref), ("x_alt", x_alt)):
        try:
            check_images(images)
        except InputError as error:
            raise InputError(f"{name}: {error}") from None
        bad = bad_rows(images).nonzero().flatten()
        if len(bad):
            raise InputError(f"{name}: pixels of row {int(bad[0])} are not finite or outside [0, 1]")
    if x_ref.shape != x_alt.shape:
        raise InputError(
            f"x_ref and x_alt must be aligned images of one shape, got {tuple(x_ref.shape)} and {tuple(x_alt.shape)}"
        )


def _check_different(a: Tensor, b: Tensor) -> None:
    same = (a == b).nonzero().flatten()
    if len(same):
        row = int(same[0])
        raise InputError(f"a and b must differ, both are class {int(a[row])} in row {row}")
