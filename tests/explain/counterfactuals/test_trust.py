"""Verdicts on counterfactuals, with judges of which it is known what they know."""

from __future__ import annotations

import copy
import inspect
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.attacks.attack_nets import Linear, SmallNet
from torch import Tensor, nn

from whywrong.core.classes import ClassList
from whywrong.core.errors import AccessError, InputError
from whywrong.core.randomness import keyed_normal, row_keys
from whywrong.explain.counterfactuals.judges import Opinion, ask_judges, paired_threshold, permuted
from whywrong.explain.counterfactuals.metrics import judge_agreement
from whywrong.explain.counterfactuals.objectives import log_probability
from whywrong.explain.counterfactuals.trust import DAMAGES, TrustConfig, _verdict, _verdicts, trust
from whywrong.models.classifier import Classifier

SIDE = 16


class Pattern(nn.Module):
    """Two classes; the log-odds of class 1 are the inner product with a pattern, times a strength.

    Class 1 "is" the pattern: a judge that knows it rises with every change along it.
    """

    def __init__(self, seed: int, strength: float = 1.0, smooth: bool = True) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(seed)
        pattern = torch.randn((1, 3, SIDE, SIDE), generator=draw)
        if smooth:  # waves of four pixels and more, which JPEG and blur leave alone
            pattern = nn.functional.interpolate(pattern[..., :4, :4], size=SIDE, mode="bicubic")
        self.pattern = nn.Parameter(strength * pattern / pattern.norm())

    def forward(self, x: Tensor) -> Tensor:
        odds = ((x - 0.5) * self.pattern).flatten(1).sum(1)
        return torch.stack([-odds / 2, odds / 2], 1)


class Wild(nn.Module):
    """As Pattern, and a steep wave along every pixel whose slope changes sign within a grey level or two."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.base = Pattern(seed)

    def forward(self, x: Tensor) -> Tensor:
        logits = self.base(x)
        wave = torch.sin(300 * x).flatten(1).sum(1) / 30
        return logits + torch.stack([-wave, wave], 1)


def along(net: Pattern, n: int = 6, size: float = 1.5) -> tuple[Tensor, Tensor, Tensor]:
    """Grey images, images changed along the pattern by an l_2 norm of ``size``, and their target 1."""
    x = 0.5 + 0.05 * (torch.rand((n, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(9)) - 0.5)
    change = net.pattern.detach() / net.pattern.detach().norm()
    return x, (x + size * change).clamp(0, 1), torch.ones(n, dtype=torch.int64)


def own() -> Pattern:
    return Pattern(0, strength=4.0)


def test_a_judge_that_knows_the_class_makes_the_change_semantic():
    net = own()
    x, vce, target = along(net)
    knows = Classifier(Pattern(0, strength=2.0))
    found = trust(Classifier(net), x, vce, target, judges=[knows], p=2.0)
    assert found.verdict == ["semantic"] * 6
    assert found.opinion.agrees.all()
    assert (found.score > 1).all()
    expected = (knows.model(vce) - knows.model(x)).detach()  # log-odds, and with them the log-probability
    want = log_probability(knows.model(vce).detach(), target) - log_probability(knows.model(x).detach(), target)
    torch.testing.assert_close(found.opinion.rise[:, 0], want)
    assert (expected[:, 1] > 0).all()
    assert found.opinion.kind == "permuted"
    assert found.opinion.controls == 20


def test_a_judge_that_does_not_know_the_class_does_not_agree():
    net = own()
    x, vce, target = along(net)
    ignorant = Classifier(Pattern(5, strength=2.0))
    found = trust(Classifier(net), x, vce, target, judges=[ignorant], p=2.0)
    assert not found.opinion.agrees.any()
    assert found.verdict == ["undecided"] * 6  # the explained gradients are coherent, so nothing speaks against it
    assert "0 of 1 judges" in found.reason[0]


def test_the_agreement_of_judges_counts_images_on_which_all_do():
    net = own()
    x, vce, target = along(net)
    judges = [Classifier(Pattern(0, strength=2.0)), Classifier(Pattern(5, strength=2.0))]
    one, two = (
        judge_agreement(trust(Classifier(net), x, vce, target, judges=j, p=2.0).opinion) for j in (judges[:1], judges)
    )
    assert (one.agree.value, one.n, one.controls) == (1.0, 6, "permuted")
    assert two.agree.value == 0.0
    assert two.mean_rise < one.mean_rise
    assert one.flips.value == float((judges[0].predict(vce) == 1).float().mean())
    with pytest.raises(InputError, match="no judges were asked"):
        judge_agreement(trust(Classifier(net), x, vce, target).opinion)


def test_one_judge_in_doubt_leaves_it_undecided_and_the_score_is_that_of_the_doubter():
    net = own()
    x, vce, target = along(net)
    judges = [Classifier(Pattern(0, strength=2.0)), Classifier(Pattern(5, strength=2.0))]
    found = trust(Classifier(net), x, vce, target, judges=judges, p=2.0)
    alone = [trust(Classifier(net), x, vce, target, judges=[judge], p=2.0).score for judge in judges]
    assert found.opinion.agrees.tolist() == [[True, False]] * 6
    assert found.verdict == ["undecided"] * 6
    torch.testing.assert_close(found.score, torch.minimum(*alone))


def test_gradients_without_a_direction_and_no_judge_that_agrees_are_adversarial():
    net = Wild(0)
    x, vce, target = along(net.base, size=3.0)
    found = trust(Classifier(net), x, vce, target, judges=[Classifier(Pattern(5))], p=2.0)
    assert (found.coherence < 0.3).all()
    moved = found.rise > 0
    assert moved.any()
    verdicts = [verdict for verdict, up in zip(found.verdict, moved.tolist(), strict=True) if up]
    assert set(verdicts) == {"adversarial"}
    assert "no common direction" in found.reason[moved.tolist().index(True)]


def test_without_judges_nothing_is_semantic():
    net, wild = own(), Wild(0)
    x, vce, target = along(net)
    assert trust(Classifier(net), x, vce, target).verdict == ["undecided"] * 6
    x, vce, target = along(wild.base, size=3.0)
    found = trust(Classifier(wild), x, vce, target)
    assert {v for v, up in zip(found.verdict, found.rise.tolist(), strict=True) if up > 0} == {"adversarial"}
    assert found.score.isnan().all()
    assert found.opinion.kind == "none"


def test_a_change_that_noise_and_jpeg_remove_is_fragile():
    """One-pixel checks of a grey level or two carry the class: JPEG leaves nothing of them."""
    draw = torch.Generator().manual_seed(1)
    checks = torch.randn((1, 3, SIDE, SIDE), generator=draw).sign()
    weights = torch.cat([-checks, checks]).flatten(1)
    net = Linear(weights, -0.5 * weights.sum(1))  # even odds at grey
    x = torch.full((4, 3, SIDE, SIDE), 0.5)
    vce, target = x + 2 / 255 * checks, torch.ones(4, dtype=torch.int64)
    found = trust(Classifier(net), x, vce, target, config=TrustConfig(jpeg_quality=30))
    assert (found.kept[:, 1] < 0.5).all()
    assert found.verdict == ["adversarial"] * 4
    assert "JPEG leaves" in found.reason[0]


def test_a_target_that_did_not_rise_is_undecided():
    net = own()
    x, vce, target = along(net)
    found = trust(Classifier(net), vce, x, target, judges=[Classifier(Pattern(0))])
    assert found.verdict == ["undecided"] * 6
    assert "did not move toward the target" in found.reason[0]
    assert found.kept.isnan().all()


def test_a_class_that_was_certain_before_leaves_too_little_to_judge():
    net = own()
    x, vce, target = along(net, size=3.0)
    deeper = (x + 0.9 * (vce - x)).clamp(0, 1)
    found = trust(Classifier(net), deeper, vce, target, judges=[Classifier(Pattern(0, 2.0))])
    assert (found.rise > 0).all()
    assert (found.rise < 0.01).all()
    assert found.verdict == ["undecided"] * 6
    assert "too little to judge" in found.reason[0]


def test_the_gradient_of_a_linear_log_odds_is_coherent():
    net = own()
    x, vce, target = along(net)
    found = trust(Classifier(net), x, vce, target)
    torch.testing.assert_close(found.coherence, torch.ones(6), atol=1e-5, rtol=0)


def test_coherence_is_the_mean_cosine_with_the_gradient_at_the_counterfactual():
    net, x = SmallNet(0), torch.rand((3, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    target, keys = torch.tensor([0, 1, 2]), row_keys(7, 3)
    found = trust(Classifier(net), x, x, target, keys=keys, config=TrustConfig(draws=2, sigma=0.1))

    def slope(z: Tensor) -> Tensor:
        z = z.clone().requires_grad_()
        value = net(z).log_softmax(1)[torch.arange(3), target]
        return torch.autograd.grad(value.sum(), z)[0].flatten(1)

    noisy = [slope((x + 0.1 * keyed_normal(keys, (3, 8, 8), (1 << 20) + draw)).clamp(0, 1)) for draw in range(2)]
    expected = torch.stack([torch.cosine_similarity(slope(x), g) for g in noisy]).mean(0)
    torch.testing.assert_close(found.coherence, expected, atol=1e-5, rtol=1e-4)


def test_survival_of_a_change_of_whole_grey_levels_is_exact_after_rounding():
    net = own()
    x, vce, target = along(net)
    x, vce = ((z * 255).round() / 255 for z in (x, vce))
    found = trust(Classifier(net), x, vce, target)
    torch.testing.assert_close(found.kept[:, 0], torch.ones(6), atol=1e-4, rtol=0)
    torch.testing.assert_close(found.survival[:, 0], net(vce).detach().softmax(1)[:, 1])


def test_models_are_left_as_they_were_and_every_pass_is_counted():
    nets = [Pattern(0, 4.0).train(), Pattern(0, 2.0).train(), Pattern(1).train(), Pattern(2).train()]
    before = [copy.deepcopy(net.state_dict()) for net in nets]
    explained, judge, *plain = (Classifier(net) for net in nets)
    x, vce, target = along(nets[0], n=12)
    copies = x.clone(), vce.clone()
    found = trust(explained, x, vce, target, judges=[judge], plain=plain, config=TrustConfig(control_steps=5))
    assert explained.forwards == int(found.forwards.sum()) == 12 * 16
    assert explained.backwards == int(found.backwards.sum()) == 12 * 5
    assert judge.forwards == int(found.opinion.judge_forwards.sum()) == 12 * 4  # image, counterfactual, two controls
    assert judge.backwards == 0
    assert sum(net.forwards for net in plain) == int(found.opinion.control_forwards.sum())
    assert sum(net.backwards for net in plain) == int(found.opinion.control_backwards.sum())
    assert torch.equal(x, copies[0])
    assert torch.equal(vce, copies[1])
    for net, state in zip(nets, before, strict=True):
        assert net.training
        assert net.pattern.requires_grad
        assert net.pattern.grad is None
        assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), state.values(), strict=True))


def test_controls_of_ordinary_classifiers_are_their_counterfactuals_of_equal_norm():
    """A judge that knows one of the two ordinary classifiers' patterns rises under its control as far as it can."""
    net, plain = own(), [Pattern(1), Pattern(2)]
    x, vce, target = along(net, n=12)
    judge = Pattern(1, strength=2.0)
    found = trust(
        Classifier(net), x, vce, target, judges=[Classifier(judge)], plain=[Classifier(p) for p in plain], p=2.0
    )
    assert found.opinion.kind == "plain_counterfactuals"
    assert found.opinion.controls == 24
    step = (vce - x).flatten(1).norm(dim=1)[:, None, None, None]
    ends = [(x + step * p.pattern.detach() / p.pattern.detach().norm()).clamp(0, 1) for p in plain]
    read = [log_probability(judge(z).detach(), target) for z in (x, *ends)]
    mean = (read[1] + read[2]) / 2 - read[0]
    torch.testing.assert_close(found.opinion.centre[:, 0], mean, atol=2e-2, rtol=2e-2)
    assert not found.opinion.agrees.any()


def test_without_help_the_explained_classifier_is_the_control_of_its_guided_counterfactuals():
    """The guide knows what the judge knows, the explained one does not: its own counterfactuals move no judge."""
    net, aux, judge = Pattern(5, 4.0), Classifier(Pattern(0, 4.0)), Classifier(Pattern(0, 2.0))
    x, plain_vce, target = along(net, n=24)
    both = net.pattern.detach() / net.pattern.detach().norm() + aux.model.pattern.detach() / 4.0
    vce = (x + 1.5 * both / both.norm()).clamp(0, 1)
    explained = Classifier(net)
    config = TrustConfig(control_steps=3)
    found = trust(explained, x, vce, target, judges=[judge], aux=aux, plain=[explained], p=2.0, config=config)
    assert found.opinion.kind == "plain_counterfactuals"
    assert found.opinion.agrees.all()
    assert found.verdict == ["semantic"] * 24
    assert explained.forwards == int(found.forwards.sum()) > 24 * 16
    assert explained.backwards == int(found.backwards.sum()) > 24 * 5
    assert int(found.opinion.control_forwards.sum()) == 0
    alone = trust(explained, x, plain_vce, target, judges=[judge], aux=aux, plain=[explained], p=2.0, config=config)
    assert float(alone.opinion.agrees.float().mean()) <= 0.1


def test_shuffled_controls_are_too_weak_for_gradients_without_a_direction():
    net = Wild(0)
    x, vce, target = along(net.base, size=3.0)
    knows = Classifier(Pattern(0, 2.0))
    found = trust(Classifier(net), x, vce, target, judges=[knows], config=TrustConfig(kept=1e-6))
    assert found.opinion.agrees.all()
    moved = [i for i, up in enumerate(found.rise.tolist()) if up > 0]
    assert "semantic" not in found.verdict
    assert any("too weak" in found.reason[i] for i in moved)


def test_gradients_without_a_direction_make_nothing_semantic_unless_the_search_was_guided():
    net, knows, config = Wild(0), Classifier(Pattern(0, 2.0)), TrustConfig(kept=1e-6)
    x, vce, target = along(net.base, n=24, size=3.0)
    fragile = [along(Pattern(seed, smooth=False), n=24, size=3.0)[1] for seed in (7, 8)]
    controls = {"plain_vces": fragile, "p": 2.0, "config": config}
    alone, guided = (
        trust(Classifier(net), x, vce, target, judges=[knows], guided=guided, **controls) for guided in (False, True)
    )
    assert alone.opinion.agrees.all()
    assert "semantic" not in alone.verdict
    assert "nothing guided the search" in " ".join(alone.reason)
    assert "semantic" in guided.verdict


def test_too_few_controls_of_ordinary_classifiers_fall_back_to_shuffled_ones():
    net = own()
    x, vce, target = along(net, n=6)
    judges, plain = [Classifier(Pattern(0, 2.0))], [Classifier(Pattern(1)), Classifier(Pattern(2))]
    found = trust(Classifier(net), x, vce, target, judges=judges, plain=plain)
    assert found.opinion.kind == "permuted"
    assert plain[0].forwards == 0


def test_verdicts_do_not_depend_on_the_split_into_batches():
    net = own()
    x, vce, target = along(net)
    judges, keys = [Classifier(Pattern(0, 2.0)), Classifier(Pattern(5, 2.0))], row_keys(3, 6)
    whole = trust(Classifier(net), x, vce, target, judges=judges, keys=keys)
    parts = [
        trust(Classifier(net), x[r], vce[r], target[r], judges=judges, keys=keys[r]) for r in (slice(2), slice(2, 6))
    ]
    assert whole.verdict == [*parts[0].verdict, *parts[1].verdict]
    torch.testing.assert_close(whole.score, torch.cat([part.score for part in parts]), atol=1e-4, rtol=1e-4)


def test_an_empty_batch_has_no_verdict():
    net = own()
    x = torch.zeros(0, 3, SIDE, SIDE)
    classifier, judge = (Classifier(model, classes=ClassList(("a", "b"))) for model in (net, Pattern(1)))
    found = trust(classifier, x, x, torch.zeros(0, dtype=torch.int64), judges=[judge])
    assert found.verdict == []
    assert found.to_arrow().num_rows == 0


def test_the_table_has_a_row_an_image():
    net = own()
    x, vce, target = along(net)
    table = trust(Classifier(net), x, vce, target, judges=[Classifier(Pattern(0, 2.0))], p=2.0).to_pandas()
    assert table["trust"].tolist() == ["semantic"] * 6
    assert len(table["judge_rise"][0]) == 1
    assert len(table["survival"][0]) == 4


@given(seed=st.integers(0, 10_000), p=st.sampled_from([1.0, 1.5, 2.0, math.inf]))
@settings(max_examples=20, deadline=None)
def test_a_shuffled_control_is_as_large_as_the_change_and_in_range(seed, p):
    draw = torch.Generator().manual_seed(seed)
    x = torch.rand((3, 3, 8, 8), generator=draw)
    vce = (x + 0.1 * torch.randn(x.shape, generator=draw)).clamp(0, 1)
    vce[2] = x[2]
    z = permuted(x, vce, row_keys(seed, 3), 0, p)
    assert 0 <= float(z.min()) <= float(z.max()) <= 1
    norms = [torch.linalg.vector_norm((a - x).flatten(1).double(), p, dim=1) for a in (vce, z)]
    if math.isinf(p):  # the one largest change may have landed where there is no room for it
        assert (norms[1] <= norms[0] + 1e-6).all()
    else:
        torch.testing.assert_close(norms[0], norms[1], atol=1e-5, rtol=1e-4)
    assert torch.equal(z[2], x[2])


def test_a_shuffled_control_moves_whole_pixels_where_the_range_does_not_bind():
    x = torch.full((1, 3, 4, 4), 0.5)
    vce = x + 0.02 * torch.arange(48).view(1, 3, 4, 4) / 48
    z = permuted(x, vce, row_keys(0, 1), 0, 1.5)
    moved = (z - x).flatten(2)[0].T.sort(dim=0).values
    torch.testing.assert_close(moved, (vce - x).flatten(2)[0].T.sort(dim=0).values, atol=1e-6, rtol=1e-4)
    assert not torch.allclose(z, vce)


def test_the_paired_threshold_is_the_images_mean_and_the_spread_of_all():
    rises = torch.tensor([[[1.0], [10.0], [5.0]], [[3.0], [10.0], [6.0]]])  # two controls of three images
    centre, threshold = paired_threshold(rises, 0.95)
    assert centre[:, 0].tolist() == [2.0, 10.0, 5.5]
    above = sorted([-2.0, 2.0, 0.0, 0.0, -1.0, 1.0])  # each minus the other of its image
    expected = above[4] + 0.75 * (above[5] - above[4])  # the 95th percentile of six, by linear interpolation
    torch.testing.assert_close(threshold - centre, torch.full((3, 1), expected))


def test_an_image_without_an_answer_has_no_threshold_and_changes_no_other():
    rises = torch.randn((2, 30, 1), generator=torch.Generator().manual_seed(0))
    broken = rises.clone()
    broken[0, 7] = torch.nan
    keep = torch.arange(30) != 7
    for made, left in zip(paired_threshold(broken), paired_threshold(rises[:, keep]), strict=True):
        assert made[7].isnan().all()
        torch.testing.assert_close(made[keep], left)


def test_with_one_control_an_image_the_threshold_is_the_percentile_of_all():
    rises = torch.arange(101.0).view(1, 101, 1)
    centre, threshold = paired_threshold(rises, 0.95)
    assert set(centre.flatten().tolist()) == {50.0}
    assert float(threshold[0]) == pytest.approx(95.0)


def test_about_one_in_twenty_meaningless_changes_is_agreed_with():
    """Controls judged as if they were counterfactuals: exchangeable with their own controls, so 5 % exceed them."""
    judge = Classifier(Pattern(3, strength=3.0))
    n = 300
    x = 0.3 + 0.4 * torch.rand((n, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(2))
    vce = x + 0.05 * torch.randn(x.shape, generator=torch.Generator().manual_seed(3))
    target = torch.ones(n, dtype=torch.int64)
    found = ask_judges([judge], x, vce.clamp(0, 1), target, row_keys(1, n), p=2.0, controls=60, stretch=1.0)
    assert 0.01 < float(found.agrees.float().mean()) < 0.12


def test_who_takes_part_in_the_search_is_no_judge():
    net, aux = own(), Classifier(Pattern(7))
    x, vce, target = along(net)
    explained = Classifier(net)
    for judge in (explained, Classifier(net), Classifier(copy.deepcopy(net))):
        with pytest.raises(InputError, match="judge 1 is the explained classifier"):
            trust(explained, x, vce, target, judges=[judge])
    with pytest.raises(InputError, match="judge 2 is the auxiliary classifier of the search"):
        trust(explained, x, vce, target, judges=[Classifier(Pattern(1)), aux], aux=aux)
    with pytest.raises(InputError, match="judge 2 was given twice"):
        trust(explained, x, vce, target, judges=[aux, aux])
    with pytest.raises(InputError, match="ordinary classifier 1 also judges"):
        trust(explained, x, vce, target, judges=[aux], plain=[aux])
    with pytest.raises(InputError, match="a control only where something guided"):
        trust(explained, x, vce, target, judges=[aux], plain=[explained])


def test_a_judge_of_other_classes_or_without_scores_is_refused():
    net = own()
    x, vce, target = along(net)
    explained = Classifier(net, classes=ClassList(("cat", "dog")))
    with pytest.raises(InputError, match='class 0 of judge 1 is "dog"'):
        trust(explained, x, vce, target, judges=[Classifier(Pattern(1), classes=ClassList(("dog", "cat")))])
    with pytest.raises(AccessError, match="judging counterfactuals needs access to SCORES"):
        trust(explained, x, vce, target, judges=[Classifier(lambda z: z.argmax(1), output="labels")])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"quantile": 0.3}, r"quantile must be in \(0.5, 1\)"),
        ({"controls": 5}, "controls must be at least 20"),
        ({"stretch": 0.5}, "stretch must be at least 1"),
        ({"control_steps": 0}, "control_steps must be at least 1"),
        ({"draws": 0}, "draws must be at least 1"),
        ({"sigma": 12.0}, r"sigma must be in \(0, 1\]"),
        ({"jpeg_quality": 100}, r"jpeg_quality must be in 1..95"),
        ({"blur": 0.0}, "blur must be positive"),
        ({"kept": 1.0}, r"kept must be in \(0, 1\)"),
        ({"incoherent": 1.5}, "incoherent must be a cosine"),
        ({"coherent": 0.2}, r"coherent must be a cosine in \[incoherent, 1\)"),
    ],
)
def test_a_wrong_setting_is_refused(settings, words):
    with pytest.raises(InputError, match=words):
        TrustConfig(**settings)


def test_a_paired_threshold_is_twice_what_shuffling_or_the_plain_counterfactual_of_the_image_brings():
    net, x, vce, target = Classifier(own()), *along(own())
    judge = Classifier(Pattern(0, strength=2.0))
    plain_vce = x + 0.5 * (vce - x)  # scaled to the norm of the change, it is the change
    keys = row_keys(0, len(x))
    found = ask_judges([judge], x, vce, target, keys, plain_vces=[plain_vce], paired=True, p=2.0)
    assert found.kind == "paired"
    shuffled = ask_judges([judge], x, vce, target, keys, p=2.0)
    torch.testing.assert_close(found.centre, shuffled.centre)
    torch.testing.assert_close(found.threshold, found.centre + 2 * (found.rise - found.centre), rtol=1e-3, atol=1e-4)
    assert not found.agrees.any()  # no further than without help
    assert shuffled.agrees.all()
    assert int(found.judge_forwards[0]) == 2 + 20 + 1
    alone = ask_judges(
        [judge], x[2:3], vce[2:3], target[2:3], keys[2:3], plain_vces=[plain_vce[2:3]], paired=True, p=2.0
    )
    torch.testing.assert_close(alone.threshold, found.threshold[2:3])
    verdicts = trust(
        net, x, vce, target, judges=[judge], plain_vces=[plain_vce], paired=True, guided=True, p=2.0
    ).verdict
    assert set(verdicts) == {"undecided"}


def test_paired_controls_let_help_be_semantic_where_gradients_have_no_direction():
    net = Classifier(Wild(0))
    x, vce, target = along(Wild(0).base)
    judge = Classifier(Pattern(0, strength=2.0))
    useless = x + 0.5 * (along(Pattern(5))[1] - x)  # what the net would have changed alone: nothing to the judge
    found = trust(net, x, vce, target, judges=[judge], plain_vces=[useless], paired=True, guided=True, p=2.0)
    shuffled = trust(net, x, vce, target, judges=[judge], guided=True, p=2.0)
    assert found.coherence.max() < 0.45
    assert found.opinion.agrees.all()
    assert found.opinion.kind == "paired"
    assert set(shuffled.verdict) <= {"undecided"}  # too weak alone
    lasting = (found.kept[:, :3] >= 0.5).all(1)
    assert [verdict == "semantic" for verdict in found.verdict] == lasting.tolist()


def verdict_of(**changed):
    """The verdict on a change that rose by 1 nat, lasts and whose gradients keep their direction, unless changed."""
    given = {"rise": 1.0, "coherence": 0.9, "kept": 0.9, "damage": 0, "judges": 2, "agreeing": 2, "guided": False,
             "controls": "plain_counterfactuals", "config": TrustConfig()} | changed  # fmt: skip
    names = list(inspect.signature(_verdict).parameters)
    return _verdict(**{name: given[name] for name in names})[0]


@pytest.mark.parametrize(
    ("changed", "verdict"),
    [
        ({}, "semantic"),
        ({"rise": 0.0}, "undecided"),
        ({"rise": 0.0099}, "undecided"),
        ({"rise": 0.0101}, "semantic"),
        ({"kept": TrustConfig().kept - 1e-6}, "undecided"),
        ({"kept": TrustConfig().kept}, "semantic"),
        ({"agreeing": 1}, "undecided"),
        ({"agreeing": 0}, "undecided"),
        ({"agreeing": 0, "kept": 0.0}, "adversarial"),
        ({"coherence": TrustConfig().incoherent - 1e-6}, "undecided"),
        ({"coherence": TrustConfig().incoherent}, "semantic"),
        ({"coherence": TrustConfig().incoherent - 1e-6, "guided": True}, "semantic"),
        ({"coherence": TrustConfig().incoherent - 1e-6, "agreeing": 0}, "adversarial"),
        ({"controls": "permuted", "coherence": TrustConfig().coherent}, "semantic"),
        ({"controls": "permuted", "coherence": TrustConfig().coherent - 1e-6}, "undecided"),
        ({"judges": 0, "agreeing": 0}, "undecided"),
        ({"judges": 0, "agreeing": 0, "kept": 0.0}, "adversarial"),
    ],
)
def test_verdicts_change_where_the_settings_say(changed, verdict):
    assert verdict_of(**changed) == verdict


@pytest.mark.parametrize("damage", range(len(DAMAGES)))
def test_a_change_must_outlast_every_damage_but_the_blur(damage):
    kept = torch.ones(1, len(DAMAGES))
    kept[0, damage] = 0.1
    one = torch.ones(1, 2)
    opinion = Opinion(
        rise=one, centre=one, threshold=one, agrees=one.bool(), flips=one.bool(), score=one[0, :1],
        kind="plain_counterfactuals", controls=20, judge_forwards=one[0], control_forwards=one[0],
        control_backwards=one[0], own_passes=one,
    )  # fmt: skip
    verdicts, reasons = _verdicts(torch.ones(1), kept, torch.ones(1), opinion, 2, TrustConfig(), guided=False)
    if DAMAGES[damage] == "blur":
        assert verdicts == ["semantic"]
    else:
        assert verdicts == ["undecided"]
        assert DAMAGES[damage] in reasons[0]
