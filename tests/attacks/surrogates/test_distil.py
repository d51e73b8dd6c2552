"""Surrogates are trained on answers alone, every query is counted, and one seed gives one surrogate."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from whywrong.attacks.surrogates.answers import TrainingAnswers, ask_answers
from whywrong.attacks.surrogates.distil import distil, refine
from whywrong.attacks.surrogates.models import Surrogate
from whywrong.attacks.surrogates.train import DistilConfig
from whywrong.core.access import Access
from whywrong.core.errors import InputError, ModelError
from whywrong.core.randomness import keyed_uniform, row_keys
from whywrong.models.classifier import Classifier

SMALL = DistilConfig(nets=("plain",), epochs=3, batch=16)


class Colours:
    """A black box that names the strongest colour, and counts the images it is asked about."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, x: Tensor) -> Tensor:
        self.asked += len(x)
        return 12 * x.mean((2, 3))


def images(n: int, seed: int = 0) -> Tensor:
    keys = row_keys(seed, n)
    tint = keyed_uniform(keys, (3, 1, 1), 1)
    return (0.7 * tint + 0.3 * keyed_uniform(keys, (3, 8, 8))).clamp(0, 1)


def black_box(**options) -> tuple[Classifier, Colours]:
    model = Colours()
    return Classifier(model, classes=["red", "green", "blue"], **options), model


def weights(surrogate: Surrogate) -> list[Tensor]:
    assert surrogate.module is not None
    return list(surrogate.module.state_dict().values())


def test_a_surrogate_learns_what_the_black_box_answers():
    classifier, model = black_box()
    surrogate = distil(classifier, images(120), config=DistilConfig(nets=("plain",), epochs=4, batch=16))
    fresh = images(40, seed=5)
    agreement = (surrogate.models[0].predict(fresh) == classifier.predict(fresh)).float().mean()
    assert float(agreement) > 0.8
    assert surrogate.card is not None
    assert surrogate.card.agreement > 0.7
    assert surrogate.queries == surrogate.card.queries == 120 == model.asked - 40


def test_labels_suffice_and_scores_are_then_never_read():
    def answer(x: Tensor) -> Tensor:
        return 12 * x.mean((2, 3))

    classifier = Classifier(answer, classes=["red", "green", "blue"], access=Access.LABELS)
    surrogate = distil(classifier, images(60), config=SMALL)
    assert surrogate.card is not None
    assert surrogate.card.access == "labels"
    assert ask_answers(classifier, images(3)).log_scores is None


def test_jacobian_augmentation_asks_about_each_error_once_a_round():
    classifier, model = black_box()
    errors = images(7, seed=9), torch.zeros(7, dtype=torch.int64)
    config = DistilConfig(nets=("plain",), epochs=1, rounds=2)
    surrogate = distil(classifier, images(40), errors=errors, config=config)
    assert surrogate.queries == model.asked == 40 + 2 * 7
    with pytest.raises(InputError, match="need errors"):
        distil(classifier, images(40), config=config)


def test_one_seed_gives_one_surrogate_and_the_global_generator_stays():
    before = torch.get_rng_state()
    one, two = (distil(black_box()[0], images(40), config=SMALL) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(weights(one), weights(two), strict=True))
    assert torch.equal(torch.get_rng_state(), before)
    other = distil(black_box()[0], images(40), config=DistilConfig(nets=("plain",), epochs=3, batch=16, seed=1))
    assert not all(torch.equal(a, b) for a, b in zip(weights(one), weights(other), strict=True))


def test_refining_goes_on_from_the_surrogate_and_adds_the_queries():
    classifier, _ = black_box()
    surrogate = distil(classifier, images(40), config=SMALL)
    kept = [value.clone() for value in weights(surrogate)]
    later = refine(surrogate, ask_answers(classifier, images(30, seed=3)), asked=30, config=SMALL)
    assert later.queries == 70
    assert all(torch.equal(a, b) for a, b in zip(kept, weights(surrogate), strict=True))
    with pytest.raises(InputError, match="only a surrogate that was distilled"):
        refine(Surrogate.own(surrogate.models[0]), ask_answers(classifier, images(30)))


def test_a_written_surrogate_answers_the_same_and_loads_as_a_model(tmp_path):
    from whywrong.models.loading.zoo import load_classifier

    surrogate = distil(black_box()[0], images(40), config=SMALL)
    path = surrogate.write(tmp_path / "s.safetensors")
    x = images(5, seed=2)
    read = Surrogate.read(path)
    assert (read.tier, read.queries, read.card) == ("distilled", 40, surrogate.card)
    torch.testing.assert_close(read.models[0].logits(x), surrogate.models[0].logits(x))
    loaded = load_classifier(f"surrogate:{path}")
    torch.testing.assert_close(loaded.logits(x), surrogate.models[0].logits(x))
    assert "40 answers (scores)" in loaded.notes[0]


def test_files_that_are_no_surrogates_are_refused(tmp_path):
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(2)}, tmp_path / "other.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}")
    for name in ("other", "broken"):
        with pytest.raises(ModelError, match="is not a surrogate"):
            Surrogate.read(tmp_path / f"{name}.safetensors")
    with pytest.raises(InputError, match="no surrogate at"):
        Surrogate.read(tmp_path / "none.safetensors")
    with pytest.raises(InputError, match="only a distilled surrogate"):
        Surrogate.own(black_box()[0]).write(tmp_path / "own.safetensors")


def test_too_few_answers_are_refused():
    with pytest.raises(InputError, match="at least 20 answers"):
        distil(black_box()[0], images(19), config=SMALL)


def test_joined_answers_keep_scores_only_if_all_have_them():
    classifier, _ = black_box()
    scored, labelled = ask_answers(classifier, images(4)), ask_answers(classifier, images(4), labels_only=True)
    assert TrainingAnswers.join([scored, scored]).log_scores is not None
    assert TrainingAnswers.join([scored, labelled]).log_scores is None


@pytest.mark.parametrize(
    "settings", [{"nets": ()}, {"nets": ("plian",)}, {"epochs": 0}, {"held_out": 0.0}, {"rounds": -1}]
)
def test_bad_settings_are_refused(settings):
    with pytest.raises(InputError, match=next(iter(settings))):
        DistilConfig(**settings)
