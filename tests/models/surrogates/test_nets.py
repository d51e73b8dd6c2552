"""Architectures of surrogates serve any size, and their ensemble averages log-probabilities."""

import pytest
import torch

from whywrong.core.errors import InputError
from whywrong.models.surrogates.nets import NETS, Ensemble


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (3, 64, 48), (3, 130, 224)])
@pytest.mark.parametrize("name", NETS)
def test_every_architecture_takes_every_size(name, shape):
    assert NETS[name](shape, 7).eval()(torch.rand(2, *shape)).shape == (2, 7)


def test_an_ensemble_is_the_mean_of_the_log_probabilities_of_its_networks():
    ensemble = Ensemble(("plain", "residual"), (3, 16, 16), 4).eval()
    x = torch.rand(3, 3, 16, 16)
    with torch.no_grad():
        parts = [net(4 * x - 2).log_softmax(1) for net in ensemble.members]
        torch.testing.assert_close(ensemble(x), (parts[0] + parts[1]) / 2)


def test_unknown_architectures_are_refused_with_the_nearest_name():
    with pytest.raises(InputError, match='nearest: "residual"'):
        Ensemble(("residaul",), (3, 16, 16), 4)
