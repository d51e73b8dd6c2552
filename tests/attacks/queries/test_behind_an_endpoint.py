"""Query attacks on a model behind an address: what they count is what reached it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import torch
from tests.models.endpoints.fake import Answer, Fake, serving
from tests.models.endpoints.test_model import model_of

from whywrong.attacks.queries import HopSkipJumpConfig, SquareConfig, hop_skip_jump, square
from whywrong.models.classifier import Classifier
from whywrong.models.endpoints import calls


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    monkeypatch.setattr(calls, "FIRST_PAUSE", 0.001)
    with serving() as running:
        yield running


def errors() -> tuple[torch.Tensor, torch.Tensor]:
    """Four grey images whose label is the colour that comes second."""
    x = (torch.randint(90, 160, (4, 3, 4, 4), generator=torch.Generator().manual_seed(3)) / 255).float()
    return x, x.mean((2, 3)).argsort(1, descending=True)[:, 1]


def test_square_counts_what_the_server_saw_and_its_images_are_right_as_sent(fake, tmp_path):
    x, y = errors()
    model = model_of(fake, tmp_path)
    result = square(Classifier(model, output="probabilities"), x, y, config=SquareConfig(queries=60))
    assert result.found.all()
    assert fake.images == model.ledger.asked == int(result.forwards.sum())
    assert torch.equal(result.image.mean((2, 3)).argmax(1), y)
    again = square(Classifier(model, output="probabilities"), x, y, config=SquareConfig(queries=60))
    assert torch.equal(again.image, result.image)
    assert fake.images == int(result.forwards.sum())  # the ledger had every answer


@pytest.mark.parametrize("budget", [0, 1, 25])
def test_the_budget_of_a_run_ends_a_search_and_the_count_stays_exact(fake, tmp_path, budget):
    x, y = errors()
    model = model_of(fake, tmp_path, answers="labels", most_queries=budget, batch=1, concurrency=1)
    fake.fault = lambda call, body: (503, {}, b"") if call % 5 == 2 else labels(fake, body)
    start = torch.zeros_like(x)
    start[torch.arange(4), y] = 1.0
    config = HopSkipJumpConfig(queries=40, stop_early=False, eps=10.0)
    result = hop_skip_jump(Classifier(model, output="labels", classes=list("abc")), x, y, start=start, config=config)
    assert fake.images == model.ledger.asked <= budget
    assert int(result.forwards.sum()) <= fake.images  # the ledger counts repeated attempts as well
    assert [status == "ok" for status in result.status] == result.found.tolist()
    lost = [why or "" for why, found in zip(result.reason, result.found.tolist(), strict=True) if not found]
    assert all(f"budget of {budget} queries" in why for why in lost)
    assert len(lost) < 4 or budget < 25


def labels(fake: Fake, body: bytes) -> Answer:
    """Answer the predicted classes instead of the scores."""
    told = json.loads(fake.answer(body, "application/json")[2])
    rows = [max(range(3), key=scores.__getitem__) for scores in told["scores"]]
    return 200, {}, json.dumps({"id": told["id"], "labels": rows}).encode()
