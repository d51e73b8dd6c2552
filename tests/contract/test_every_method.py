"""What every registered method owes its caller. A new method joins by being listed in the registry."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
from typing import Any

import pytest
import torch
from tests.contract.nets import CLASSES, NETS, SHORT, Counting, Raising, build, images, snapshot
from torch import Tensor, nn

from whywrong.core.access import Access
from whywrong.core.config import config_dict, config_hash, make_config
from whywrong.core.errors import AccessError, InputError, ModelError, ModelRaisedError, NonFiniteError
from whywrong.core.registry import Method, methods, resolve
from whywrong.core.result import MethodResult
from whywrong.core.status import Status
from whywrong.models.classifier import Classifier

BATCH = 7
KEYS = torch.arange(100, 100 + BATCH)


@pytest.fixture(params=sorted(methods()))
def method(request: pytest.FixtureRequest) -> Method:
    return methods()[request.param]


@pytest.fixture(params=sorted(NETS))
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def net(kind: str) -> nn.Module:
    return build(kind)


def run(method: Method, classifier: Classifier, x: Tensor, y: Tensor, **options: Any) -> MethodResult:
    """A method with settings that keep it short."""
    config = make_config(resolve(method.config), SHORT.get(method.name, {}), method.name)
    return resolve(method.function)(classifier, x, y, config=config, **options)


def errors(net: nn.Module, batch: int = BATCH) -> tuple[Tensor, Tensor]:
    """Images with their runner-up as true class, so that they count as wrong; the last one is right."""
    x = images(batch, seed=1)
    with torch.no_grad():
        order = net(x).argsort(1, descending=True)
    y = order[:, 1].clone()
    y[-1] = order[-1, 0]
    return x, y


@functools.cache
def reference(name: str, kind: str) -> MethodResult:
    """Result of a method on the images of a net, in one batch: what all other ways of asking must give."""
    net = build(kind)
    return run(methods()[name], Classifier(net), *errors(net), keys=KEYS)


def plain(result: MethodResult) -> dict[str, list[Any]]:
    return {**result.to_arrow().to_pydict(), **{f"map {name}": list(m) for name, m in result.maps().items()}}


def assert_same(one: dict[str, list[Any]], other: dict[str, list[Any]], exactly: bool = False) -> None:
    """Equal words, flags and counts; numbers within 1 %, or with the same bits."""
    assert one.keys() == other.keys()
    for name, values in one.items():
        for row, (a, b) in enumerate(zip(values, other[name], strict=True)):
            _assert_alike(a, b, f"{name}, row {row}", exactly)


def _assert_alike(a: Any, b: Any, where: str, exactly: bool) -> None:
    if isinstance(a, Tensor):
        if exactly:
            torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True, msg=where)
        else:
            scale = float(torch.nan_to_num(a).abs().max()) if a.numel() else 0.0
            torch.testing.assert_close(a, b, rtol=0.01, atol=0.01 * scale + 1e-6, equal_nan=True, msg=where)
    elif isinstance(a, float) and isinstance(b, float) and not exactly:
        # A residual is an error itself: where the fix lies to six digits decides which kinks its way passes.
        near = 1e-3 if "residual" in where else 1e-4
        assert math.isclose(a, b, rel_tol=0.01, abs_tol=near) or (math.isnan(a) and math.isnan(b)), f"{where}: {a}, {b}"
    elif isinstance(a, float) and isinstance(b, float):
        assert a == b or (math.isnan(a) and math.isnan(b)), f"{where}: {a}, {b}"
    elif isinstance(a, list) and isinstance(b, list):
        assert len(a) == len(b), where
        for i, (c, d) in enumerate(zip(a, b, strict=True)):
            _assert_alike(c, d, f"{where}[{i}]", exactly)
    elif isinstance(a, dict) and isinstance(b, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            _assert_alike(a[key], b[key], f"{where}.{key}", exactly)
    else:
        assert a == b, f"{where}: {a!r}, {b!r}"


def pick(table: dict[str, list[Any]], rows: list[int]) -> dict[str, list[Any]]:
    return {name: [values[row] for row in rows] for name, values in table.items()}


# Registration.


def test_everything_a_registry_line_names_can_be_imported(method):
    assert callable(resolve(method.function))
    assert dataclasses.is_dataclass(resolve(method.config))
    assert method.draw or method.report
    assert all(resolve(line) is not None for line in (method.draw, method.report) if line is not None)
    assert method.takes <= {"detail", "fixes", "masks"}


def test_settings_are_frozen_hashable_and_known_by_a_stable_hash(method):
    kind = resolve(method.config)
    config = kind()
    assert hash(config) == hash(kind())
    assert config == kind()
    assert config_hash(config) == config_hash(kind())
    assert config_hash(make_config(kind, config_dict(config))) == config_hash(config)
    field = dataclasses.fields(kind)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(config, field, getattr(config, field))


def test_unknown_settings_are_refused_with_the_nearest_known_one(method):
    kind = resolve(method.config)
    field = dataclasses.fields(kind)[0].name
    with pytest.raises(InputError, match=f'nearest: "{method.name}.{field}"'):
        make_config(kind, {field + "x": 1}, method.name)


# What is left behind.


def test_image_model_and_generators_stay_as_they_were(method, net):
    x, y = errors(net)
    net.train()
    first = next(net.parameters())
    first.requires_grad_(False)
    first.grad = torch.ones_like(first)
    net.register_forward_hook(lambda *_: None)
    before = snapshot(net, x, y)
    run(method, Classifier(net), x, y)
    assert snapshot(net, x, y) == before


@pytest.mark.parametrize("passes", [0, 1, 4])
def test_they_stay_so_when_the_model_raises(method, passes):
    worn = Raising(build("gap"), passes)
    x, y = errors(worn.net)
    worn.train()
    before = snapshot(worn, x, y)
    with contextlib.suppress(ModelRaisedError):  # a method may record the rows, or give up
        run(method, Classifier(worn, batch_size=1), x, y)  # so that every method makes several passes
    assert worn.left < 0
    assert snapshot(worn, x, y) == before


def test_results_carry_no_graph(method, kind):
    result = reference(method.name, kind)
    tensors = [*result.columns().values(), *result.maps().values(), *result.cost.values()]
    assert not any(t.requires_grad for t in tensors if isinstance(t, Tensor))


# Determinism.


def test_a_second_call_gives_the_same_bits(method, kind, net):
    again = run(method, Classifier(net), *errors(net), keys=KEYS)
    assert_same(plain(reference(method.name, kind)), plain(again), exactly=True)


@pytest.mark.parametrize("size", [1, 3])
def test_any_batch_size_gives_the_same_answer(method, kind, net, size):
    split = run(method, Classifier(net, batch_size=size), *errors(net), keys=KEYS)
    assert_same(plain(reference(method.name, kind)), plain(split))


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SHORT))
def test_no_batch_size_changes_what_the_usual_settings_give(name, kind, net):
    method, (x, y) = methods()[name], errors(net)
    one, other = (
        resolve(method.function)(Classifier(net, batch_size=size), x, y, keys=KEYS, config=resolve(method.config)())
        for size in (256, 3)
    )
    assert_same(plain(one), plain(other))


@pytest.mark.parametrize("rows", [[4], [3, 6, 1, 0, 2, 5, 4]], ids=["one", "shuffled"])
def test_any_split_and_order_of_the_images_gives_the_same_answer(method, kind, net, rows):
    x, y = errors(net)
    part = run(method, Classifier(net), x[rows], y[rows], keys=KEYS[rows])
    assert_same(pick(plain(reference(method.name, kind)), rows), plain(part))


def test_global_seeds_have_no_say(method):
    net = build("gap")
    x, y = errors(net)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        moved = run(method, Classifier(net), x, y, keys=KEYS)
    assert_same(plain(reference(method.name, "gap")), plain(moved), exactly=True)


# Queries.


def test_counts_are_the_true_ones_and_every_image_is_in_0_1(method, net):
    x, y = errors(net)
    counting = Counting(net)
    classifier = Classifier(counting, batch_size=3)
    run(method, classifier, x[:0], y[:0])  # looking at the model, once, is not a query of an image
    counting.reset()
    before = classifier.forwards, classifier.backwards
    result = run(method, classifier, x, y)
    assert result.forwards.dtype == result.backwards.dtype == torch.int64
    assert int(result.forwards.sum()) == counting.forwards == classifier.forwards - before[0]
    assert int(result.backwards.sum()) == counting.backwards == classifier.backwards - before[1]
    assert counting.forwards > 0
    assert counting.low >= 0.0
    assert counting.high <= 1.0


def test_too_little_access_is_refused(method):
    net = build("gap")
    x, y = errors(net)
    for access in Access:
        if access < method.access:
            with pytest.raises(AccessError, match=method.access.name):
                run(method, Classifier(net, access=access), x, y)


# Bad input.


@pytest.mark.parametrize(
    ("what", "spoil"),
    [
        ("three dimensions", lambda x, y: (x[0], y)),
        ("five dimensions", lambda x, y: (x[None], y)),
        ("uint8", lambda x, y: ((x * 255).byte(), y)),
        ("not a tensor", lambda x, y: (x.numpy(), y)),
        ("label K", lambda x, y: (x, y.index_fill(0, torch.tensor([2]), CLASSES))),
        ("negative label", lambda x, y: (x, y.index_fill(0, torch.tensor([2]), -1))),
        ("float labels", lambda x, y: (x, y.float())),
        ("int32 labels", lambda x, y: (x, y.int())),
        ("too few labels", lambda x, y: (x, y[:-1])),
        ("labels in two dimensions", lambda x, y: (x, y[:, None])),
        ("labels in a list", lambda x, y: (x, y.tolist())),
    ],
)
@pytest.mark.parametrize("known", [True, False], ids=["asked before", "fresh"])
def test_bad_arguments_are_refused(method, what, spoil, known):
    net = build("gap")
    x, y = errors(net)
    classifier = Classifier(net)
    if known:
        classifier.logits(x[:1])
    with pytest.raises(InputError):
        run(method, classifier, *spoil(x, y))


@pytest.mark.parametrize("what", ["function of numbers", "name"])
def test_what_is_no_classifier_is_refused_with_what_to_pass(method, what):
    x, y = errors(build("gap"))
    with pytest.raises(InputError, match=r"expected a whywrong\.Classifier"):
        run(method, math.sin if what == "function of numbers" else "timm:resnet18", x, y)  # type: ignore[arg-type]


def test_a_single_class_is_refused(method):
    class One(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean((1, 2, 3))[:, None]

    with pytest.raises((InputError, ModelError)):
        run(method, Classifier(One()), images(2), torch.zeros(2, dtype=torch.int64))


def test_bad_pixels_are_recorded_and_their_neighbours_survive(method):
    net = build("gap")
    x, y = errors(net)
    whole = plain(reference(method.name, "gap"))
    spoiled = x.clone()
    spoiled[0, 1, 2, 3], spoiled[2, 0, 0, 0], spoiled[4, 2, 5, 5] = math.nan, 1.5, -0.1
    classifier = Classifier(net)
    run(method, classifier, x[:0], y[:0])
    result = run(method, classifier, spoiled, y, keys=KEYS)
    table = plain(result)
    for row in (0, 2, 4):
        assert table["status"][row] == Status.BAD_INPUT
        assert table["forwards"][row] == table["backwards"][row] == 0
    assert int(result.forwards.sum()) == classifier.forwards
    assert_same(pick(whole, [1, 3, 5, 6]), pick(table, [1, 3, 5, 6]))


def test_bad_pixels_alone_give_a_result(method):
    net = build("gap")
    x, y = errors(net)
    result = run(method, Classifier(net), torch.full_like(x, math.nan), y)
    assert set(result.to_arrow()["status"].to_pylist()) == {Status.BAD_INPUT}


class _Silent(nn.Module):
    """The net, with NaN as answer to images whose first pixel is exactly 0.125."""

    def __init__(self) -> None:
        super().__init__()
        self.net = build("gap")

    def forward(self, x: Tensor) -> Tensor:
        return torch.where((x[:, 0, 0, 0] == 0.125)[:, None], torch.nan, self.net(x))


def test_scores_that_are_not_finite_are_refused_with_a_reason_or_end_the_call(method):
    x, y = errors(build("gap"))
    x[2, 0, 0, 0] = 0.125
    try:
        result = run(method, Classifier(_Silent()), x, y, keys=KEYS)
    except NonFiniteError:
        assert method.name == "profiles"  # one game for all rows: the runner isolates the image
        return
    table = plain(result)
    assert table["status"][2] == Status.REFUSED
    assert "NaN" in (table["reason"][2] if "reason" in table else result.reason[2])
    assert Status.REFUSED not in {word for row, word in enumerate(table["status"]) if row != 2}


def test_an_empty_batch_gives_an_empty_result(method):
    net = build("gap")
    x, y = errors(net)
    result = run(method, Classifier(net), x[:0], y[:0])
    full = reference(method.name, "gap")
    assert result.to_arrow().num_rows == 0
    assert result.to_arrow().schema == full.to_arrow().schema
    assert result.columns().keys() == full.columns().keys()
    assert result.maps().keys() <= full.maps().keys()
    assert all(len(values) == 0 for values in result.maps().values())
    assert len(result.forwards) == len(result.backwards) == 0


# Results.


def test_all_parts_of_a_result_have_one_entry_an_image(method, kind):
    result = reference(method.name, kind)
    lengths = {name: len(v) for part in (result.columns(), result.maps(), result.checks) for name, v in part.items()}
    assert set(lengths.values()) == {BATCH}, lengths
    table = result.to_arrow()
    assert table.num_rows == BATCH
    assert list(result.to_pandas().columns) == table.column_names
    assert {"status", "forwards", "backwards"} <= set(table.column_names)
    assert set(table["status"].to_pylist()) <= set(Status)


def test_a_randomised_model_changes_its_map(method):
    other = build("gap", seed=1)
    x, y = errors(build("gap"))
    rows = slice(0, BATCH - 1)
    one = reference(method.name, "gap").maps()
    two = run(method, Classifier(other), x[rows], y[rows], keys=KEYS[rows]).maps()
    for name, found in two.items():
        if name == "image_u8":  # the image itself, which no model has a say in
            continue
        a, b = torch.nan_to_num(one[name][rows].float()), torch.nan_to_num(found.float())
        assert a.shape != b.shape or not torch.allclose(a, b, atol=1e-3), name


def test_optional_inputs_are_understood_where_the_registry_says_so(method):
    net = build("gap")
    x, y = errors(net)
    masks = torch.zeros(BATCH, *x.shape[2:], dtype=torch.bool)
    masks[:, 4:12, 4:12] = True
    given = {"detail": torch.arange(BATCH) % 2 == 0, "masks": masks, "fixes": torch.full_like(x, math.nan)}
    result = run(method, Classifier(net), x, y, **{name: given[name] for name in method.takes})
    assert result.to_arrow().num_rows == BATCH
