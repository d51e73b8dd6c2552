"""Asking an endpoint: every form, every fault, and a ledger that agrees with what the server saw."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.models.endpoints.fake import Fake, serving, soft

import whywrong as ww
from whywrong.core.access import Access
from whywrong.core.errors import EnvironmentFailure, InputError, ModelError
from whywrong.models.classifier import Classifier
from whywrong.models.endpoints import calls
from whywrong.models.endpoints.ledger import BudgetUsedUp, Ledger
from whywrong.models.endpoints.model import EndpointModel
from whywrong.models.endpoints.settings import check_settings

NAMES = ["a", "b", "c"]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    monkeypatch.setattr(calls, "FIRST_PAUSE", 0.001)
    with serving() as running:
        yield running


@pytest.fixture
def images() -> torch.Tensor:
    grey = torch.randint(0, 256, (12, 3, 4, 4), generator=torch.Generator().manual_seed(0))
    return grey / 255


def model_of(fake: Fake, tmp_path: Path, name: str = "ledger.sqlite", **settings: Any) -> EndpointModel:
    given = {"url": fake.url, "classes": NAMES, "input_size": [3, 4, 4], "ask_again": 0, **settings}
    return EndpointModel(check_settings(given, "here"), tmp_path / name)


def expected(x: torch.Tensor) -> np.ndarray:
    return soft(x.mean((2, 3)).double().numpy())


@pytest.mark.parametrize("form", ["plain", "torchserve", "kserve", "hugging-face"])
def test_every_form_gives_the_scores_of_the_server_in_order(fake, tmp_path, images, form):
    model = model_of(fake, tmp_path, form=form, batch=5)
    np.testing.assert_allclose(model(images).numpy(), expected(images), atol=1e-6)
    assert model.ledger.asked == fake.images == len(images)
    assert fake.calls == (12 if form in ("torchserve", "hugging-face") else 3)


def test_labels_only_give_classes(fake, tmp_path, images):
    fake.fault = lambda call, body: (200, {}, json.dumps({"labels": ["b"] * len(json.loads(body)["images"])}).encode())
    assert model_of(fake, tmp_path, answers="labels")(images).tolist() == [1] * 12


def test_classes_that_are_not_listed_have_no_score(fake, tmp_path, images):
    model = model_of(fake, tmp_path, form="hugging-face", answers="top")
    fake.fault = lambda call, body: (200, {}, b'[{"label": "b", "score": 0.5}, {"label": "c", "score": 0.3}]')
    assert model(images[:2]).tolist() == [[0, 0.5, 0.3]] * 2
    classifier = Classifier(model, output="top", classes=list("abc"))
    assert classifier.access == Access.TOP
    assert classifier.predict(images[:2]).tolist() == [1, 1]


@pytest.mark.parametrize("row", [{"b": 0.5, "c": 0.3}, [{"label": "c", "score": 0.3}, {"label": "b", "score": 0.5}]])
def test_the_plain_form_lists_the_best_classes_by_name(fake, tmp_path, images, row):
    def listed(call, body):
        return 200, {}, json.dumps({"scores": [row] * len(json.loads(body)["images"])}).encode()

    fake.fault = listed
    assert model_of(fake, tmp_path, answers="top")(images[:3]).tolist() == [[0, 0.5, 0.3]] * 3


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"b": 0.8, "c": 0.7}, "no probabilities"),
        ({"b": -0.1, "c": 0.7}, "no probabilities"),
        ({"b": 0.0}, "no probabilities"),
        ([{"label": ["b"], "score": 0.5}], "instead of scores by class"),
        (["b", "c"], 'set answers = "labels"'),
        ([], 'set answers = "labels"'),
        ([0.5, 0.3, 0.2], 'set answers = "labels"'),
    ],
)
def test_a_list_of_the_best_classes_must_name_them_with_probabilities(fake, tmp_path, images, row, words):
    fake.fault = lambda call, body: (200, {}, json.dumps({"scores": [row]}).encode())
    with pytest.raises(ModelError, match=words):
        model_of(fake, tmp_path, answers="top")(images[:1])


def test_a_few_classes_are_not_taken_for_all_scores(fake, tmp_path, images):
    fake.fault = lambda call, body: (200, {}, b'[{"label": "b", "score": 0.5}, {"label": "c", "score": 0.3}]')
    with pytest.raises(ModelError, match=r'2 of 3 classes.*answers = "top"'):
        model_of(fake, tmp_path, form="hugging-face")(images[:1])


def test_an_answered_image_is_never_sent_again_in_this_or_a_later_run(fake, tmp_path, images):
    with_copies = torch.cat([images, images[:5]])
    first = model_of(fake, tmp_path)(with_copies)
    assert fake.images == 12  # equal images are one
    again = model_of(fake, tmp_path)  # another process
    assert torch.equal(again(with_copies), first)
    assert fake.images == 12
    assert again.ledger.asked == 12


def test_another_endpoint_does_not_get_the_answers_of_this_one(fake, tmp_path, images):
    model_of(fake, tmp_path)(images)
    other = model_of(fake, tmp_path, url=fake.url + "/other")
    assert other.ledger.asked == 0
    other(images)
    assert fake.images == 24


def test_the_ledger_counts_what_the_server_saw_whatever_fails(fake, tmp_path):
    faults = {0: (503, {}, b""), 1: (429, {"Retry-After": "0"}, b""), 2: "drop"}
    fake.fault = lambda call, body: faults.get(call % 11)
    model = model_of(fake, tmp_path, batch=3, retries=8, concurrency=6)
    x = torch.rand(300, 3, 4, 4)
    model(x)
    assert fake.calls > 100
    assert model.ledger.asked == fake.images


@pytest.mark.slow
def test_the_ledger_is_exact_over_ten_thousand_calls(fake, tmp_path):
    faults = {0: (503, {}, b""), 1: (429, {"Retry-After": "0"}, b""), 2: "drop"}
    fake.fault = lambda call, body: faults.get(call % 11)
    model = model_of(fake, tmp_path, batch=1, retries=12, concurrency=16)
    generator = torch.Generator().manual_seed(0)
    while fake.calls < 10_000:
        model(torch.rand(500, 3, 4, 4, generator=generator))
    assert model.ledger.asked == fake.images


def test_a_refused_connection_is_not_counted(fake, tmp_path, images):
    model = model_of(fake, tmp_path, url="http://127.0.0.1:9/predict", retries=2)
    with pytest.raises(EnvironmentFailure, match=r"cannot be reached.*3 times.*run the same command again"):
        model(images[:1])
    assert model.ledger.asked == 0


def test_a_budget_is_never_exceeded_and_what_was_answered_stays(fake, tmp_path, images):
    model = model_of(fake, tmp_path, batch=1, concurrency=1, most_queries=5)
    with pytest.raises(BudgetUsedUp, match="budget of 5 queries is used up: 5 images were sent"):
        model(images)
    assert fake.images == 5
    assert model(images[:5]).shape == (5, 3)  # from the ledger


@pytest.mark.parametrize("budget", [0, 1])
def test_the_smallest_budgets_hold(fake, tmp_path, images, budget):
    model = model_of(fake, tmp_path, batch=1, concurrency=1, most_queries=budget)
    with pytest.raises(BudgetUsedUp):
        model(images)
    assert fake.images == budget


@pytest.mark.parametrize(
    ("status", "hint"),
    [(401, "asks for credentials"), (403, "not accepted"), (404, "nothing is at this address"), (413, "too large")],
)
def test_a_refusal_stops_at_once_with_a_hint(fake, tmp_path, images, status, hint):
    fake.fault = lambda call, body: (status, {}, b"")
    with pytest.raises(EnvironmentFailure, match=hint):
        model_of(fake, tmp_path, batch=1, concurrency=1)(images)
    assert fake.calls == 1


@pytest.mark.parametrize("where", ["file:///etc/passwd", "http://169.254.169.254/", "http://other.example/"])
def test_a_redirect_is_never_followed(fake, tmp_path, images, where):
    fake.fault = lambda call, body: (302, {"Location": where}, b"")
    with pytest.raises(EnvironmentFailure, match="redirects"):
        model_of(fake, tmp_path, batch=1, concurrency=1)(images)
    assert fake.calls == 1


def test_an_absurd_wait_ends_the_run_instead_of_sleeping(fake, tmp_path, images):
    fake.fault = lambda call, body: (429, {"Retry-After": "999999999999999999"}, b"")
    with pytest.raises(EnvironmentFailure, match="asks to wait 1,000,000,000 seconds"):
        model_of(fake, tmp_path, batch=1, concurrency=1)(images[:1])


def test_the_wait_that_is_asked_for_is_kept(fake, tmp_path, images, monkeypatch):
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    fake.fault = lambda call, body: (503, {"Retry-After": "7"}, b"") if call == 1 else None
    model_of(fake, tmp_path, batch=1, concurrency=1)(images[:1])
    assert slept == [7.0]


def test_a_slow_drip_meets_the_deadline_of_the_whole_call(fake, tmp_path, images):
    import httpx2

    class Drip(httpx2.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            while True:
                time.sleep(0.01)
                yield b" "

    transport = httpx2.MockTransport(lambda request: httpx2.Response(200, stream=Drip()))
    settings = check_settings({"url": fake.url, "timeout": 0.05, "retries": 0, "batch": 1}, "here")
    with pytest.raises(EnvironmentFailure, match=r"no whole answer within 0\.05 s"):
        EndpointModel(settings, tmp_path / "l", transport)(images[:1])


def scores(*rows: Any) -> bytes:
    return json.dumps({"scores": rows}).encode()


@pytest.mark.parametrize(
    ("content", "message", "kind"),
    [
        (b"<html>login</html>", "something else than JSON", EnvironmentFailure),
        (b"", "something else than JSON", EnvironmentFailure),
        (b"[" * 100_000, "something else than JSON", EnvironmentFailure),
        (b"x" * (2 << 20), "more than 1,048,576 bytes", EnvironmentFailure),
        (b'{"id": "another", "scores": [[1, 0, 0]]}', "another request", EnvironmentFailure),
        (b'{"answers": []}', "an object with answers", ModelError),
        (scores(), "1 images", ModelError),
        (scores([0.5, 0.5]), "must answer 3 scores", ModelError),
        (scores(["0.5", "0.5", "0"]), "must answer numbers", ModelError),
        (scores([True, False, False]), "must answer numbers", ModelError),
        (b'{"scores": [[NaN, 1, 0]]}', "NaN or infinite", ModelError),
        (b'{"scores": [[1e999, 1, 0]]}', "NaN or infinite", ModelError),
        (scores([-0.5, 1.0, 0.5]), "no probabilities", ModelError),
        (scores([0.2, 0.2, 0.2]), "no probabilities", ModelError),
        (scores([3.0, 1.0, -2.0]), 'answers = "logits"', ModelError),
    ],
)
def test_a_wrong_answer_is_named_and_never_used(fake, tmp_path, images, content, message, kind):
    fake.fault = lambda call, body: (200, {}, content)
    model = model_of(fake, tmp_path, batch=1, concurrency=1)
    with pytest.raises(kind, match=message):
        model(images[:1])
    assert fake.calls == 1
    assert model.ledger.known([b"x"]) == {}


def test_a_compressed_answer_is_refused_before_it_is_unpacked(fake, tmp_path, images):
    fake.fault = lambda call, body: (200, {"Content-Encoding": "gzip"}, b"\x1f\x8b")
    with pytest.raises(EnvironmentFailure, match="compresses"):
        model_of(fake, tmp_path, batch=1, concurrency=1)(images[:1])


def test_a_model_that_changes_in_mid_run_is_noticed(fake, tmp_path, images):
    model = model_of(fake, tmp_path, batch=1, concurrency=1, ask_again=4)
    model(images[:6])
    assert model.ledger.changes == 0
    assert fake.images == 7  # one check is counted too
    assert model.ledger.asked == 7
    fake.fault = lambda call, body: (200, {}, scores([0.2, 0.2, 0.6]))
    with pytest.warns(UserWarning, match="has changed or is not deterministic"):
        model(images[6:])
    assert model.ledger.changes == 2  # the checks before the 8th and the 12th image


def test_a_secret_is_sent_and_stands_nowhere_else(fake, tmp_path, images, monkeypatch):
    secret = "canary-4711"
    monkeypatch.setenv("TOKEN_OF_TEST", secret)
    model = model_of(fake, tmp_path, headers={"Authorization": "Bearer env:TOKEN_OF_TEST"}, retries=0)
    model(images)
    assert fake.seen[0]["Authorization"] == f"Bearer {secret}"
    fake.fault = lambda call, body: (404, {}, secret.encode())
    with pytest.raises(EnvironmentFailure) as raised:
        model(1 - images)
    model.close()
    assert secret not in str(raised.value)
    assert all(secret.encode() not in path.read_bytes() for path in tmp_path.iterdir())


def test_the_variable_of_a_secret_must_be_set(fake, tmp_path):
    with pytest.raises(InputError, match="NOT_SET_ANYWHERE"):
        model_of(fake, tmp_path, headers={"X-Api-Key": "env:NOT_SET_ANYWHERE"})


def test_a_ledger_is_only_appended_to(fake, tmp_path, images):
    model_of(fake, tmp_path)(images)
    with sqlite3.connect(tmp_path / "ledger.sqlite") as db, pytest.raises(sqlite3.IntegrityError, match="appended"):
        db.execute("delete from calls")


def test_a_file_that_is_no_ledger_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine" * 500)
    with pytest.raises(InputError, match="not a ledger"):
        Ledger(tmp_path / "notes.txt", "e")
    assert (tmp_path / "notes.txt").read_text() == "mine" * 500
    with sqlite3.connect(tmp_path / "other.sqlite") as db:
        db.execute("create table mine (a)")
    with pytest.raises(InputError, match="not a ledger"):
        Ledger(tmp_path / "other.sqlite", "e")


def test_a_call_that_was_in_flight_when_the_process_died_stays_counted(tmp_path):
    ledger = Ledger(tmp_path / "l.sqlite", "e", budget=5)
    ledger.begin(3, "ask")  # and the process is killed
    again = Ledger(tmp_path / "l.sqlite", "e", budget=5)
    assert again.asked == 3
    with pytest.raises(BudgetUsedUp):
        again.begin(3, "ask")


def test_an_endpoint_is_a_classifier_that_diagnoses(fake, tmp_path):
    from PIL import Image

    rng = np.random.default_rng(0)
    for name in NAMES:
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(4):
            Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(
                tmp_path / "photos" / name / f"{number}.png"
            )
    (tmp_path / "net.toml").write_text(f'url = "{fake.url}"\nclasses = ["a", "b", "c"]\ninput_size = [3, 8, 8]\n')
    classifier = ww.load_classifier(tmp_path / "net.toml")
    assert classifier.access is Access.SCORES
    run = ww.diagnose(classifier, tmp_path / "photos", tmp_path / "run", methods=[])
    assert len(run.query("select * from predictions where status = 'ok'")) == 12
    asked = fake.images
    ww.diagnose(ww.load_classifier(tmp_path / "net.toml"), tmp_path / "photos", tmp_path / "again", methods=[])
    assert fake.images == asked  # every answer was in the ledger


def test_a_server_that_is_gone_ends_the_run_as_a_failure_of_the_environment(fake, tmp_path, images):
    (tmp_path / "net.toml").write_text(
        'url = "http://127.0.0.1:9/x"\nretries = 0\nclasses = ["a", "b", "c"]\ninput_size = [3, 4, 4]\n'
    )
    with pytest.raises(EnvironmentFailure, match="cannot be reached"):
        ww.load_classifier(tmp_path / "net.toml").logits_or_faults(images)


def test_images_beyond_the_budget_are_faults_of_their_own(fake, tmp_path, images):
    text = f'url = "{fake.url}"\nmost_queries = 5\nbatch = 1\nconcurrency = 1\nclasses = ["a", "b", "c"]\n'
    (tmp_path / "net.toml").write_text(text + "input_size = [3, 4, 4]\n")
    logits, faults = ww.load_classifier(tmp_path / "net.toml").logits_or_faults(images)
    assert int(logits.isfinite().all(1).sum()) == 5
    assert len(faults) == 7
    assert all("budget" in reason for reason in faults.values())


def test_two_processes_count_what_either_of_them_sent(tmp_path):
    one, other = (Ledger(tmp_path / "ledger.sqlite", "here", 20) for _ in range(2))
    elsewhere = Ledger(tmp_path / "ledger.sqlite", "elsewhere")
    late = one.begin(3, "ask")
    assert (one.asked, other.asked) == (3, 3)
    elsewhere.begin(7, "ask")
    other.end(other.begin(4, "ask"), "answered", 200)
    other.end(late, "not sent")
    assert (one.asked, other.asked, elsewhere.asked) == (4, 4, 7)
    one.begin(16, "again")
    with pytest.raises(BudgetUsedUp, match="20 images were sent"):
        other.begin(1, "ask")
    assert Ledger(tmp_path / "ledger.sqlite", "here", 20).asked == 20
