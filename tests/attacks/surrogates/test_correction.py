"""The correction of a surrogate reproduces what the black box answered about the image."""

import torch

from whywrong.attacks.surrogates.correction import Correction, fit_correction, label_residuals, score_residuals

GENERATOR = torch.Generator().manual_seed(0)
POINTS = torch.randn(3, 4, 5, generator=GENERATOR, dtype=torch.float64).log_softmax(2)
ANSWERED = torch.randn(3, 4, 5, generator=GENERATOR, dtype=torch.float64).log_softmax(2)


def corrected(correction: Correction, points: torch.Tensor) -> torch.Tensor:
    """Corrected scores at the first points (B, n, K), one column after the other."""
    rows = torch.arange(len(points))
    return torch.stack([correction.apply(points[:, n], rows) for n in range(points.shape[1])], 1)


def test_one_answer_becomes_a_bias_everywhere():
    correction = fit_correction(POINTS[:, :1], score_residuals(POINTS[:, :1], ANSWERED[:, :1]))
    wanted = POINTS + (ANSWERED - POINTS)[:, :1] / 1.001  # the ridge
    torch.testing.assert_close(corrected(correction, POINTS), wanted)


def test_several_answers_are_reproduced_where_they_were_given():
    correction = fit_correction(POINTS, score_residuals(POINTS, ANSWERED))
    before = (POINTS - ANSWERED).abs().amax()
    assert (corrected(correction, POINTS) - ANSWERED).abs().amax() < 0.05 * before


def test_a_repeated_answer_changes_nothing():
    twice = torch.cat([POINTS[:, :2], POINTS[:, :1]], 1)
    residuals = score_residuals(twice, torch.cat([ANSWERED[:, :2], ANSWERED[:, :1]], 1))
    one = fit_correction(POINTS[:, :2], residuals[:, :2])
    two = fit_correction(twice, residuals)
    torch.testing.assert_close(corrected(one, POINTS), corrected(two, POINTS), atol=0.02, rtol=0.02)


def test_a_label_leads_all_other_classes_by_one_nat_and_nothing_else_moves():
    predicted = torch.tensor([[0, 1, 2, 3], [4, 4, 0, 1], [2, 2, 2, 2]])
    residuals = label_residuals(POINTS, predicted)
    moved = POINTS + residuals
    others = moved.scatter(2, predicted[..., None], -torch.inf).amax(2)
    lead = moved.gather(2, predicted[..., None])[..., 0] - others
    assert bool((lead >= 1 - 1e-9).all())
    assert int((residuals != 0).sum()) <= predicted.numel()


def test_rows_are_corrected_independently_of_each_other():
    whole = fit_correction(POINTS, score_residuals(POINTS, ANSWERED))
    alone = fit_correction(POINTS[1:2], score_residuals(POINTS[1:2], ANSWERED[1:2]))
    torch.testing.assert_close(whole.at(torch.tensor([1])).weights, alone.weights)
