"""The search behind a black box, on linear models whose crossing is known, with exact counts of what was asked."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from whywrong.attacks.black_box import BlackBoxConfig, BlackBoxResult, black_box
from whywrong.attacks.surrogates.models import Surrogate
from whywrong.core.access import Access
from whywrong.core.errors import AccessError, InputError
from whywrong.core.status import Status
from whywrong.models.classifier import Classifier

SIDE, N = 8, 6


class Linear(nn.Module):
    """Logits (0, <w, x - 1/2> - b), so that a constant image is class 0 with margin b."""

    def __init__(self, w: Tensor, b: float) -> None:
        super().__init__()
        self.w, self.b = nn.Parameter(w), b

    def forward(self, x: Tensor) -> Tensor:
        score = ((x - 0.5) * self.w).flatten(1).sum(1) - self.b
        return torch.stack([torch.zeros_like(score), score], 1)


class Told:
    """A callable black box that counts images, and may answer labels, rounded or noisy scores."""

    def __init__(self, net: nn.Module, form: str = "scores") -> None:
        self.net, self.form, self.asked = net, form, 0

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        self.asked += len(x)
        logits = self.net(x)
        if self.form == "labels":
            return logits.argmax(1)
        return logits.softmax(1).round(decimals=1) if self.form == "rounded" else logits


def weights(seed: int = 1) -> Tensor:
    return torch.randn(3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


def images() -> tuple[Tensor, Tensor]:
    return torch.full((N, 3, SIDE, SIDE), 0.5), torch.ones(N, dtype=torch.int64)


def asked(form: str = "scores", levels: float = 6.5) -> tuple[Classifier, Told]:
    """A black box that becomes right ``levels`` grey levels along the signs of its weights."""
    w = weights()
    told = Told(Linear(w, float(w.abs().sum()) * levels / 255), form)
    output = {"labels": "labels", "rounded": "probabilities"}.get(form, "logits")
    return Classifier(told, classes=["a", "b"], output=output), told


def own(seed: int = 1) -> Surrogate:
    return Surrogate.own(Classifier(Linear(weights(seed), 1.0)))


def run(classifier: Classifier, **settings) -> BlackBoxResult:
    surrogate = settings.pop("surrogate", None)
    return black_box(classifier, *images(), surrogate=surrogate, config=BlackBoxConfig(**{"steps": 3, **settings}))


def test_with_scores_the_crossing_is_extrapolated_and_found_with_the_second_query():
    classifier, told = asked(levels=6.5)
    result = run(classifier, surrogate=own())
    # The margin is linear: from 6.5 levels to 2.5 at the first length, 4; the next is 4 + 1.3 * 2.5 = 7.25.
    assert result.queries.tolist() == [2] * N
    assert set(result.step) == {"direction"}
    torch.testing.assert_close(255 * result.linf, torch.full((N,), 7.0), atol=1e-3, rtol=0)
    assert told.asked == int(result.forwards.sum()) == 3 * N
    assert result.path[0] == [{"step": "direction", "queries": 2}]


def test_labels_alone_are_asked_at_evenly_growing_lengths_and_scores_are_never_read():
    classifier, told = asked("labels", levels=6.5)
    assert classifier.access == Access.LABELS
    result = run(classifier, surrogate=own())
    assert result.queries.tolist() == [2] * N
    assert set(result.access) == {"labels"}
    torch.testing.assert_close(255 * result.linf, torch.full((N,), 10.0), atol=1e-3, rtol=0)
    assert bool(result.margin_before.isnan().all())
    assert told.asked == 3 * N


def test_every_fix_is_predicted_as_the_true_class_when_asked_again():
    classifier, _ = asked()
    result = run(classifier, surrogate=own())
    assert bool(result.fixed.all())
    assert classifier.predict(result.fix_u8 / 255).tolist() == [1] * N
    assert bool((result.fix_u8 == result.fix_u8.round()).all())


@pytest.mark.parametrize("budget", [0, 1])
def test_a_budget_of_none_or_one_is_kept(budget):
    classifier, told = asked()
    result = run(classifier, surrogate=own(), queries=budget)
    assert int(result.queries.sum()) == budget * N
    assert told.asked == (N + budget * N if budget else 0)
    assert set(result.status) == {Status.NO_ANSWER}
    assert bool(result.fix_u8.isnan().all())


def test_the_budget_of_all_images_goes_to_the_first_ones():
    classifier, told = asked()
    result = run(classifier, surrogate=own(), total=8)
    assert int(result.queries.sum()) == 8 == told.asked - N
    assert [word == Status.OK for word in result.status] == [True, True, False, False, False, False]


def test_a_useless_surrogate_is_given_up_after_one_query_and_square_goes_on():
    classifier, told = asked(levels=2.0)
    useless = Surrogate.own(Classifier(Linear(-weights(), 1.0)))
    result = run(classifier, surrogate=useless, recrafts=0, queries=60)
    assert all(path[0] == {"step": "direction", "queries": 1} for path in result.path)
    assert set(result.step) == {"square"}
    for row, path in enumerate(result.path):
        assert sum(part["queries"] for part in path) == int(result.queries[row])
    assert told.asked == int(result.forwards.sum())


def test_without_a_tail_the_search_stops_with_the_directions():
    classifier, _ = asked(levels=40.0)
    result = run(classifier, surrogate=own(), tail="none", recrafts=1, lengths=2)
    assert int(result.queries.amax()) <= 4
    assert set(result.status) == {Status.NO_ANSWER}


def test_tier_and_training_queries_are_those_of_the_surrogate():
    classifier, _ = asked()
    bank = Surrogate.bank([*own().models, *own(2).models])
    result = run(classifier, surrogate=bank)
    assert set(result.tier) == {"bank"}
    assert result.training_queries.tolist() == [0] * N
    assert set(run(classifier, queries=2).tier) == {"none"}
    assert int(result.surrogate_passes.amin()) >= 2 * (1 + 2 * 3)  # two models, three steps each


def test_rounded_scores_end_with_a_reason_that_names_them():
    classifier, _ = asked("rounded", levels=60.0)
    result = run(classifier, queries=40)
    assert set(result.status) == {Status.NO_ANSWER}
    assert all("rounded" in (reason or "") for reason in result.reason)


def test_labels_without_a_surrogate_walk_along_the_boundary():
    classifier, told = asked("labels", levels=3.0)
    result = run(classifier, queries=400)
    assert int(result.fixed.sum()) >= 4
    assert set(result.step) <= {"labels", ""}
    assert float(result.l2[result.fixed].amax()) <= 16 / 255 * (3 * SIDE * SIDE) ** 0.5 + 1e-5
    assert int(result.queries.amax()) <= 400
    assert told.asked == int(result.forwards.sum())


def test_surrogates_that_do_not_fit_are_refused():
    classifier, _ = asked()
    other = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 3)), classes=["a", "b", "c"])
    with pytest.raises(InputError, match="3 classes, the explained classifier 2"):
        run(classifier, surrogate=Surrogate.own(other))
    turned = Classifier(Linear(weights(), 1.0), classes=["b", "a"])
    with pytest.raises(InputError, match='class 0 of a surrogate is "b"'):
        run(classifier, surrogate=Surrogate.own(turned))
    with pytest.raises(AccessError, match="a surrogate needs"):
        run(classifier, surrogate=Surrogate.own(asked()[0]))
    with pytest.raises(InputError, match="at least one model"):
        Surrogate.bank([])


def test_a_run_refuses_named_surrogates_before_it_begins():
    classifier, told = asked()
    for settings, words in (
        ({"own": "planted:nope"}, "no shipped net"),
        ({"bank": ("planted:cnn",)}, "must have the same input size"),
        ({"distilled": "none.safetensors"}, "none.safetensors"),
    ):
        with pytest.raises(InputError, match=words):
            BlackBoxConfig(**settings).check_models(classifier, (3, SIDE, SIDE))
    assert told.asked == 0


def test_an_endpoint_is_asked_exactly_as_often_as_its_ledger_says(tmp_path):
    from tests.models.endpoints.fake import serving

    from whywrong.models.endpoints.model import EndpointModel
    from whywrong.models.endpoints.settings import check_settings

    class Means(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 10 * x.mean((2, 3))

    x = torch.full((3, 3, SIDE, SIDE), 100 / 255)
    x[:, 0] = 104 / 255  # red leads by four grey levels
    with serving() as fake:
        values = {"url": fake.url, "classes": ["a", "b", "c"], "input_size": [3, SIDE, SIDE], "ask_again": 0}
        model = EndpointModel(check_settings(values, "endpoint.toml"), tmp_path / "ledger.sqlite")
        classifier = Classifier(model, classes=["a", "b", "c"], output="probabilities")
        twin = Surrogate.own(Classifier(Means(), classes=["a", "b", "c"]))
        result = black_box(classifier, x, torch.tensor([1, 2, 0]), surrogate=twin, config=BlackBoxConfig(steps=2))
        assert list(result.status) == [Status.OK, Status.OK, Status.ALREADY_CORRECT]
        assert result.queries.tolist() == [1, 1, 0]
        assert model.ledger.asked == fake.images == 1 + 2  # three equal images are sent once
        model.close()
