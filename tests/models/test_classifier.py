"""The wrapper: flags restored, counts true, faults kept to their row, outputs read as told."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from whywrong.core.access import Access
from whywrong.core.classes import ClassList
from whywrong.core.errors import (
    AccessError,
    EnvironmentFailure,
    InputError,
    ModelError,
    ModelRaisedError,
    NotDifferentiableError,
)
from whywrong.core.input_spec import InputSpec
from whywrong.models.classifier import Classifier


class Affine(nn.Module):
    """Logits W x + b over all pixels: every answer and gradient is known in closed form."""

    def __init__(self, classes: int = 3, pixels: int = 12) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.w = nn.Parameter(torch.randn(classes, pixels, generator=generator))
        self.b = nn.Parameter(torch.randn(classes, generator=generator))

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.w.T + self.b


class ConvNet(nn.Module):
    def __init__(self, head: str = "flatten") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=True)
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(8 * 64, 4)
        self.head = head

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.norm(self.conv(x)))
        x = x.view(len(x), -1) if self.head == "view" else x.flatten(1)
        return self.fc(self.drop(x))


class Wrapped(nn.Module):
    """Affine with a function between it and the caller."""

    def __init__(self, change, classes: int = 3) -> None:
        super().__init__()
        self.body = Affine(classes)
        self.change = change

    def forward(self, x: Tensor):
        return self.change(x, self.body)


def images(n: int, shape=(3, 2, 2), seed: int = 1) -> Tensor:
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(seed))


def closed_form(model: Affine, x: Tensor) -> Tensor:
    return torch.stack([model.w.detach() @ row.flatten() + model.b.detach() for row in x])


def state_of(module: nn.Module):
    return (
        [part.training for part in module.modules()],
        [p.requires_grad for p in module.parameters()],
        [p.grad for p in module.parameters()],
        [dict(part._forward_hooks) for part in module.modules()],
        [dict(part._forward_pre_hooks) for part in module.modules()],
        [t.device for t in (*module.parameters(), *module.buffers())],
        copy.deepcopy(module.state_dict()),
    )


def same(a, b) -> bool:
    return a[:-1] == b[:-1] and all(torch.equal(a[-1][k], b[-1][k]) for k in a[-1])


# Answers


@given(n=st.integers(0, 9), batch=st.integers(1, 10))
@settings(max_examples=25, deadline=None)
def test_logits_and_counts_do_not_depend_on_the_batch_size(n, batch):
    model = Affine()
    classifier = Classifier(model, batch_size=batch, classes=ClassList(("a", "b", "c")))
    x = images(n) if n else torch.zeros(0, 3, 2, 2)
    expected = closed_form(model, x) if n else torch.zeros(0, 3)
    torch.testing.assert_close(classifier.logits(x), expected)
    assert (classifier.forwards, classifier.backwards) == (n, 0)


def test_normalisation_is_part_of_the_classifier():
    model, x = Affine(), images(2)
    spec = InputSpec(height=2, width=2, mean=(0.1, 0.2, 0.3), std=(0.5, 1.0, 2.0))
    by_hand = x.clone()
    for channel in range(3):
        by_hand[:, channel] = (x[:, channel] - spec.mean[channel]) / spec.std[channel]
    torch.testing.assert_close(Classifier(model, preprocess=spec).logits(x), closed_form(model, by_hand))


def test_gradient_of_an_affine_model_is_its_weights_and_costs_one_pass_each_way():
    model, x = Affine(), images(5)
    classifier = Classifier(model, batch_size=2)
    logits, value, grad = classifier.gradient(x, lambda z, rows: z[:, 1] - z[:, 0])
    torch.testing.assert_close(logits, closed_form(model, x))
    torch.testing.assert_close(value, logits[:, 1] - logits[:, 0])
    torch.testing.assert_close(grad, (model.w[1] - model.w[0]).detach().view(1, 3, 2, 2).expand(5, -1, -1, -1))
    assert (classifier.forwards, classifier.backwards) == (5, 5)


def test_several_values_share_one_forward_pass():
    model, x = Affine(), images(3)
    classifier = Classifier(model)
    _, value, grad = classifier.gradient(x, lambda z, rows: z[:, :2])
    assert value.shape == (3, 2)
    torch.testing.assert_close(grad, model.w[:2].detach().view(1, 2, 3, 2, 2).expand(3, -1, -1, -1, -1))
    assert (classifier.forwards, classifier.backwards) == (3, 6)


def test_the_objective_sees_its_own_rows():
    model, x, y = Affine(), images(5), torch.tensor([0, 1, 2, 0, 1])
    _, value, _ = Classifier(model, batch_size=2).gradient(x, lambda z, rows: z.gather(1, y[rows, None])[:, 0])
    torch.testing.assert_close(value, closed_form(model, x)[torch.arange(5), y])


def test_no_images_give_empty_answers():
    classifier = Classifier(Affine(), classes=ClassList(("a", "b", "c")))
    empty = torch.zeros(0, 3, 2, 2)
    logits, value, grad = classifier.gradient(empty, lambda z, rows: z[:, 0])
    assert logits.shape == (0, 3)
    assert value.shape == (0,)
    assert grad.shape == empty.shape
    assert classifier.predict(empty).shape == (0,)


def test_a_gradient_works_inside_inference_mode():
    model = Affine()
    with torch.inference_mode():
        _, _, grad = Classifier(model).gradient(images(1), lambda z, rows: z[:, 0])
    torch.testing.assert_close(grad[0].flatten(), model.w[0].detach())


# The caller's model and images stay as they were


@pytest.mark.parametrize("train", [True, False])
def test_module_and_images_are_left_untouched(train):
    net = ConvNet().train(train)
    net.norm.eval()
    net.fc.bias.requires_grad_(False)
    x = images(3, (3, 8, 8))
    before, pixels = state_of(net), x.clone()
    classifier = Classifier(net)
    classifier.logits(x)
    classifier.gradient(x, lambda z, rows: z[:, 0])
    assert same(before, state_of(net))
    assert torch.equal(x, pixels)


def test_a_model_left_in_train_mode_is_used_in_evaluation_mode():
    net = ConvNet().train()
    x = images(4, (3, 8, 8))
    answer = Classifier(net).logits(x)
    net.eval()
    with torch.no_grad():
        torch.testing.assert_close(answer, net(x))
    assert Classifier(net.train()).left_in_train_mode
    assert not Classifier(net.eval()).left_in_train_mode


class Bomb(ConvNet):
    def forward(self, x: Tensor) -> Tensor:
        super().forward(x)
        raise ValueError("no such picture")


@pytest.mark.parametrize("call", ["logits", "gradient", "predict"])
def test_flags_are_restored_after_the_model_raised(call):
    net = Bomb().train()
    before = state_of(net)
    classifier = Classifier(net)
    x = images(2, (3, 8, 8))
    with pytest.raises(ModelRaisedError, match="ValueError: no such picture"):
        classifier.gradient(x, lambda z, rows: z[:, 0]) if call == "gradient" else getattr(classifier, call)(x)
    assert same(before, state_of(net))
    assert (classifier.forwards, classifier.backwards) == (0, 0)


def test_an_error_of_the_objective_is_not_blamed_on_the_model():
    classifier = Classifier(Affine())

    def objective(z, rows):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        classifier.gradient(images(2), objective)
    assert classifier.forwards == 0


@pytest.mark.parametrize("normalised", [True, False])
def test_a_model_that_writes_into_its_input_does_not_change_the_images(normalised):
    spec = InputSpec(height=2, width=2, mean=(0.5,) * 3, std=(1.0,) * 3) if normalised else None
    classifier = Classifier(Wrapped(lambda x, body: body(x.mul_(2))), preprocess=spec)
    x = images(3)
    before = x.clone()
    first = classifier.logits(x)
    classifier.gradient(x, lambda z, rows: z[:, 0])
    assert torch.equal(x, before)
    assert torch.equal(first, classifier.logits(x))


def test_an_inplace_relu_behind_a_hook_works():
    """Row 53: the pass itself must not mind hooks; capture is tested with the layers."""
    net = ConvNet().eval()
    seen = []
    net.norm.register_forward_hook(lambda module, args, out: seen.append(out.clone()))
    _, _, grad = Classifier(net).gradient(images(2, (3, 8, 8)), lambda z, rows: z[:, 0])
    assert float(grad.abs().max()) > 0
    assert float(seen[0].min()) < 0  # before the ReLU


# Channels last


def test_a_model_that_views_its_activations_falls_back_to_contiguous_pixels():
    x = images(3, (3, 8, 8))
    net = ConvNet("view").eval()
    classifier = Classifier(net)
    answer = classifier.logits(x)
    with torch.no_grad():
        torch.testing.assert_close(answer, net(x))
    assert classifier.forwards == 3
    _, _, grad = Classifier(net).gradient(x, lambda z, rows: z[:, 0])
    assert grad.shape == x.shape


def test_channels_last_pixels_give_the_same_logits_and_gradients():
    x = images(4, (3, 8, 8))
    net = ConvNet().eval()
    logits, _, grad = Classifier(net).gradient(x, lambda z, rows: z[:, 0])
    leaf = x.clone().requires_grad_()
    plain = net(leaf)
    torch.testing.assert_close(logits, plain.detach(), atol=1e-5, rtol=0)
    torch.testing.assert_close(grad, torch.autograd.grad(plain[:, 0].sum(), leaf)[0], atol=1e-5, rtol=0)
    assert net.conv.weight.is_contiguous()


# Memory


class Small(Affine):
    """Out of memory above so many images, once or always, forward or backward."""

    def __init__(self, fits: int, message: str = "CUDA out of memory. Tried to allocate") -> None:
        super().__init__()
        self.fits, self.message, self.calls = fits, message, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        if len(x) > self.fits:
            raise torch.OutOfMemoryError(self.message) if "CUDA" in self.message else RuntimeError(self.message)
        return super().forward(x)


@pytest.mark.parametrize(
    "message", ["CUDA out of memory. Tried", "[enforce fail] DefaultCPUAllocator: can't allocate memory"]
)
def test_a_batch_that_does_not_fit_is_halved_and_counts_stay_true(message):
    model, x = Small(3, message), images(10)
    classifier = Classifier(model, batch_size=8)
    torch.testing.assert_close(classifier.logits(x), closed_form(model, x))
    assert classifier.forwards == 10
    assert classifier.batch_size == 2
    assert model.calls == 1 + 1 + 5  # 8, 4, then five pairs


def test_memory_that_runs_out_in_the_backward_pass_is_halved_too():
    class Hungry(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, grad):
            if len(grad) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return grad

    classifier = Classifier(Wrapped(lambda x, body: body(Hungry.apply(x))), batch_size=8)
    _, _, grad = classifier.gradient(images(6), lambda z, rows: z[:, 0])
    assert grad.shape == (6, 3, 2, 2)
    assert (classifier.forwards, classifier.backwards, classifier.batch_size) == (6, 6, 2)


def test_a_single_image_that_does_not_fit_is_a_failure_of_the_environment():
    model = Small(0).train()
    before = state_of(model)
    with pytest.raises(EnvironmentFailure, match="one image alone"):
        Classifier(model).logits(images(3))
    assert same(before, state_of(model))


def test_memory_failures_do_not_pile_up():
    classifier = Classifier(Small(2), batch_size=64)
    for _ in range(100):
        classifier.batch_size = 64
        classifier.logits(images(5))
    assert classifier.forwards == 500


# Row 57: models that take one image only


@pytest.mark.parametrize("refusal", ["raises", "shape"])
def test_a_model_for_single_images_falls_to_batches_of_one(refusal):
    def change(x, body):
        if refusal == "raises" and len(x) != 1:
            raise ValueError("batch must be 1")
        return body(x) if refusal == "raises" else body(x).view(1, -1)

    model = Wrapped(change)
    classifier = Classifier(model, batch_size=4)
    x = images(6)
    torch.testing.assert_close(classifier.logits(x), closed_form(model.body, x))
    assert (classifier.batch_size, classifier.largest_batch, classifier.forwards) == (1, 1, 6)
    classifier.batch_size = 32
    assert classifier.batch_size == 1


# Row 58: one image on which the model raises


@given(poison=st.sets(st.integers(0, 12), max_size=4), batch=st.integers(1, 14))
@settings(max_examples=30, deadline=None)
def test_neighbours_of_a_poisonous_image_survive(poison, batch):
    def change(x, body):
        if (x[:, 0, 0, 0] == 1).any():
            raise RuntimeError("poison")
        return body(x)

    model = Wrapped(change)
    x = images(13) * 0.9
    for row in poison:
        x[row, 0, 0, 0] = 1
    classifier = Classifier(model, batch_size=batch)
    logits, faults = classifier.logits_or_faults(x)
    assert set(faults) == poison
    assert all("poison" in reason for reason in faults.values())
    good = [row for row in range(13) if row not in poison]
    torch.testing.assert_close(logits[good], closed_form(model.body, x[good]))
    assert bool(logits[sorted(poison)].isnan().all())
    assert classifier.forwards == len(good)
    if poison:
        assert classifier.batch_size == batch
        with pytest.raises(ModelRaisedError, match="poison"):
            classifier.logits(x)


def test_a_model_that_raises_on_every_image_stops():
    with pytest.raises(ModelRaisedError, match="never"):
        Classifier(Wrapped(lambda x, body: (_ for _ in ()).throw(RuntimeError("never")))).logits_or_faults(images(3))


# Row 43: NaN and infinity


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_answers_that_are_not_finite_are_faults_and_never_a_class(value):
    def change(x, body):
        return body(x).masked_fill((x[:, 0, 0, 0] > 0.95)[:, None], value)

    classifier = Classifier(Wrapped(change))
    x = images(4) * 0.9
    x[2, 0, 0, 0] = 1
    logits, faults = classifier.logits_or_faults(x)
    assert list(faults) == [2]
    assert "NaN or infinite" in faults[2]
    assert bool(logits[2].isnan().all())
    assert classifier.predict(x).tolist()[2] == -1


def test_bad_pixels_are_faults_and_never_reach_the_model():
    classifier = Classifier(Affine())
    x = images(4)
    x[0, 0, 0, 0], x[3, 1, 1, 1] = torch.nan, 7
    _, faults = classifier.logits_or_faults(x)
    assert faults == dict.fromkeys([0, 3], "pixels are not finite or outside [0, 1]")
    assert classifier.forwards == 2


# Rows 42, 44, 45, 46: what models return


class Answer:
    def __init__(self, logits):
        self.logits, self.aux = logits, None


@pytest.mark.parametrize(
    ("output", "shape"),
    [
        ("logits", lambda z: {"logits": z, "features": None}),
        ("logits", Answer),
        ("key:scores", lambda z: {"scores": z, "loss": None}),
        ("key:logits", Answer),
        ("item:0", lambda z: (z, z * 2)),
        ("item:-1", lambda z: [z * 2, z]),
        ("logits", lambda z: z.detach().numpy()),
        ("logits", lambda z: z.double()),
    ],
)
def test_the_part_with_the_logits_is_found(output, shape):
    model = Wrapped(lambda x, body: shape(body(x)))
    x = images(2)
    answer = Classifier(model, output=output).logits(x)
    assert answer.dtype == torch.float32
    torch.testing.assert_close(answer, closed_form(model.body, x))


@pytest.mark.parametrize(
    ("output", "shape", "text"),
    [
        ("logits", lambda z: (z, z), "a tuple of 2.*output=item:N"),
        ("logits", lambda z: [z], "a list of 1.*output=item:N"),
        ("logits", lambda z: {"scores": z, "loss": 0}, "mapping with scores, loss.*output=key:NAME"),
        ("logits", lambda z: "cat", "returned str"),
        ("logits", lambda z: None, "returned NoneType"),
        ("key:nope", lambda z: {"scores": z}, "key:nope finds nothing.*scores"),
        ("item:5", lambda z: (z, z), "item:5 finds nothing.*tuple of 2"),
        ("logits", lambda z: z[:, :1], "output=binary"),
        ("logits", lambda z: z[:, 0], r"for a batch of 2 it returned \(2,\)"),
        ("logits", lambda z: z[:, :, None, None].expand(-1, -1, 4, 4), r"\(2, 3, 4, 4\).*dense or multi-label"),
        ("logits", lambda z: z.sum(0, keepdim=True).expand(3, 3), r"\(3, 3\)"),
        ("logits", lambda z: z > 0, "torch.bool"),
        ("binary", lambda z: z, r"one logit an image.*\(2, 3\)"),
        ("probabilities", lambda z: z, "outside \\[0, 1\\]"),
    ],
)
def test_other_answers_stop_with_what_was_seen(output, shape, text):
    with pytest.raises(ModelError, match=text):
        Classifier(Wrapped(lambda x, body: shape(body(x))), output=output, batch_size=2).logits(images(2) + 0)


@pytest.mark.parametrize("output", ["softmax", "key:", "item:x", ""])
def test_an_unknown_way_to_read_answers_stops(output):
    with pytest.raises(InputError, match="output must be"):
        Classifier(Affine(), output=output)


def test_probabilities_become_their_logarithm():
    model = Wrapped(lambda x, body: body(x).softmax(1))
    x = images(3)
    expected = torch.log_softmax(closed_form(model.body, x), 1)
    torch.testing.assert_close(Classifier(model, output="probabilities").logits(x), expected)


@pytest.mark.parametrize("column", [True, False])
def test_one_logit_becomes_two_classes_if_told(column):
    model = Wrapped(lambda x, body: body(x)[:, :1] if column else body(x)[:, 0])
    x = images(3)
    z = closed_form(model.body, x)[:, 0]
    torch.testing.assert_close(Classifier(model, output="binary").logits(x), torch.stack([torch.zeros(3), z], 1))


@pytest.mark.parametrize("classes", [2, 3])
def test_two_and_three_classes_work(classes):
    model = Affine(classes)
    x = images(4)
    assert Classifier(model).predict(x).tolist() == closed_form(model, x).argmax(1).tolist()


def test_another_number_of_classes_than_named_stops():
    with pytest.raises(ModelError, match=r"2 class names were given.* returns 3 scores; .*--classes"):
        Classifier(Affine(), classes=ClassList(("a", "b"))).logits(images(1))


# Access


def test_any_callable_gives_scores_and_no_gradient():
    model = Affine()

    def numpy_model(x):
        return x.flatten(1).numpy() @ model.w.detach().numpy().T + model.b.detach().numpy()

    classifier = Classifier(numpy_model)
    assert classifier.access == Access.SCORES
    torch.testing.assert_close(classifier.logits(images(2)), closed_form(model, images(2)))
    with pytest.raises(AccessError, match="a gradient needs access to GRADIENTS, this classifier grants SCORES"):
        classifier.gradient(images(2), lambda z, rows: z[:, 0])


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor, list])
def test_a_labels_only_model_gives_labels_and_no_scores(kind):
    classifier = Classifier(lambda x: kind([1] * len(x)), output="labels", batch_size=2)
    assert classifier.access == Access.LABELS
    assert classifier.predict(images(3)).tolist() == [1, 1, 1]
    assert classifier.forwards == 3
    with pytest.raises(AccessError):
        classifier.logits(images(1))


@pytest.mark.parametrize("answer", [[0.5], [True], "cat", None, [[1]]])
def test_a_labels_only_model_must_return_indices(answer):
    with pytest.raises(ModelError, match="class indices"):
        Classifier(lambda x: answer, output="labels").predict(images(1))


def test_access_can_be_lowered_and_never_raised():
    assert Classifier(Affine(), access=Access.LABELS).access == Access.LABELS
    assert Classifier(Affine(), access=Access.LABELS).predict(images(2)).shape == (2,)
    assert Classifier(lambda x: x, access=Access.INTERNALS).access == Access.SCORES


# Row 51: not differentiable


class Quantise(nn.Module):
    def __init__(self, how: str) -> None:
        super().__init__()
        self.body, self.how = Affine(), how

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "numpy":
            return torch.from_numpy(self.body(x).detach().numpy())
        if self.how == "argmax":
            return nn.functional.one_hot(self.body(x).argmax(1), 3).float()
        if self.how == "int":
            return self.body((x * 255).int().float() / 255)
        return self.body(x.detach())


@pytest.mark.parametrize("how", ["numpy", "argmax", "int", "detach"])
def test_a_model_without_gradient_says_so_and_still_predicts(how):
    classifier = Classifier(Quantise(how))
    assert classifier.predict(images(2)).shape == (2,)
    with pytest.raises(NotDifferentiableError, match=r"scores or labels|backward"):
        classifier.gradient(images(2), lambda z, rows: z[:, 0])
    assert classifier.backwards == 0


def test_weights_made_in_inference_mode_predict_and_say_why_they_have_no_gradient():
    with torch.inference_mode():
        model = Affine()
    classifier = Classifier(model)
    classifier.logits(images(2))
    with pytest.raises(NotDifferentiableError, match="inference mode"):
        classifier.gradient(images(2), lambda z, rows: z[:, 0])


# Row 64


@pytest.mark.parametrize("call", ["logits", "predict"])
@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda v: 255 * v, r"row 0 is in \[.*\]: divide by 255"),
        (lambda v: (v - 0.5) / 0.5, "before normalisation; the classifier normalises"),
        (lambda v: (v - 0.485) / 0.229, "before normalisation"),
        (lambda v: 2 * v - 1, "before normalisation"),
        (lambda v: v - v.mean((2, 3), keepdim=True), "before normalisation"),
        (lambda v: torch.cat([v[:2], 255 * v[2:]]), "row 2 .*divide by 255"),
        (lambda v: 1.5 * v + 0.1, "clip them"),
    ],
)
def test_images_that_are_not_in_the_unit_range_are_refused(call, change, text):
    x = change(torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)))
    for model, options in ((nn.Flatten(), {}), (lambda v: v.flatten(1)[:, :3].argmax(1), {"output": "labels"})):
        if options and call == "logits":
            continue
        classifier = Classifier(model, **options)
        with pytest.raises(InputError, match=text):
            getattr(classifier, call)(x)
        assert classifier.forwards == 0


def test_rounding_outside_of_the_range_and_missing_pixels_are_not_refused():
    x = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    x[0, 0, 0, 0], x[1, 0, 0, 0] = -1e-4, 1 + 1e-4
    assert Classifier(nn.Flatten()).logits(x).shape == (3, 192)
    x[2, 0, 0, 0] = torch.nan
    assert Classifier(nn.Flatten()).predict(x).tolist()[2] == -1


def test_no_images_are_not_taken_for_one_score_an_image():
    assert Classifier(nn.Sequential(nn.Flatten(), nn.Linear(12, 5))).ask(torch.zeros(0, 3, 2, 2)).shape == (0, 5)
