"""Relevance through attention and normalisations, against their formulas."""

from __future__ import annotations

import pytest
import torch
from tests.explain.patch_groups.nets import tiny_vit
from tests.explain.relevance.nets import images
from tests.explain.relevance.test_engine import EXACT, relevance
from torch import Tensor, nn
from torch.nn import functional

from whywrong.explain.relevance.functions import Elementwise, Normalized, Softmax
from whywrong.explain.relevance.rules import Rules
from whywrong.explain.relevance.tape import Accounts, Tape

ATTN, CP = Rules(epsilon=0.0), Rules(epsilon=0.0, attention="cp")


def tape(batch: int) -> Tape:
    zero = torch.zeros(batch, dtype=torch.float64)
    return Tape(batch, ATTN, Accounts(zero, zero.clone()), {})


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_a_softmax_shares_relevance_by_its_formula():
    x, due = drawn(2, 3, 5).requires_grad_(), drawn(2, 3, 5, seed=1)  # relevance of the outputs
    s = x.detach().softmax(-1)
    out = Softmax.apply(x, s, -1, tape(2))
    signal, v = torch.autograd.grad(out, x, due / s)[0], x.detach()
    for b in range(2):
        for r in range(3):
            for i in range(5):
                formula = v[b, r, i] * (due[b, r, i] - s[b, r, i] * due[b, r].sum())
                assert float(v[b, r, i] * signal[b, r, i]) == pytest.approx(float(formula), abs=1e-5)


def test_a_softmax_books_what_its_inputs_do_not_receive():
    x, due, kept = drawn(2, 4).requires_grad_(), drawn(2, 4, seed=1), tape(2)
    s = x.detach().softmax(-1)
    signal = torch.autograd.grad(Softmax.apply(x, s, -1, kept), x, due / s)[0]
    torch.testing.assert_close(kept.accounts.softmax, (due - x * signal).sum(1).double(), check_dtype=False)


def test_a_function_of_each_value_passes_all_relevance():
    x = torch.tensor([-2.0, -0.1, 0.0, 0.3, 4.0], requires_grad=True)
    out = Elementwise.apply(x, functional.gelu)
    signal = torch.autograd.grad(out, x, torch.ones(5))[0]
    torch.testing.assert_close(x * signal, functional.gelu(x))
    assert signal.isfinite().all()


def test_a_normalisation_keeps_the_mean_and_takes_the_deviation_as_constant():
    x = drawn(2, 3, 8).requires_grad_()
    sigma = (x.detach().var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
    scale = (1 / sigma).expand_as(x)
    out = Normalized.apply(x, functional.layer_norm(x.detach(), (8,)), scale, None, (2, 3), tape(2))
    found = torch.autograd.grad(out, x, drawn(2, 3, 8, seed=1))[0]
    plain = (x - x.mean(-1, keepdim=True)) / sigma
    torch.testing.assert_close(found, torch.autograd.grad(plain, x, drawn(2, 3, 8, seed=1))[0])


class OneHead(nn.Module):
    """Two pixels are two tokens of width 1; attention without projections, then the first token is the logit."""

    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.embed = nn.Linear(1, 1, bias=False)
        self.embed.weight.data.fill_(1.0)
        self.head = nn.Linear(1, 2, bias=False)
        self.head.weight.data = torch.tensor([[1.0], [-1.0]])
        self.fused = fused

    def forward(self, x: Tensor) -> Tensor:
        t = self.embed(x.flatten(1)[:, :, None])[:, None]  # (B, 1, 2, 1)
        if self.fused:
            mixed = functional.scaled_dot_product_attention(t, t, t)
        else:
            mixed = (t @ t.transpose(-2, -1)).softmax(-1) @ t
        return self.head(mixed[:, 0, 0])


@pytest.mark.parametrize("fused", [True, False])
def test_attention_of_two_tokens_by_hand(fused):
    v = torch.tensor([0.4, 0.9], dtype=torch.float64)
    x = v.float().view(1, 1, 1, 2)
    a = (v[0] * v).softmax(0)
    cp = a * v  # the weights are constants: every token has its term
    torch.testing.assert_close(relevance(OneHead(fused), x, CP).pixels.flatten().double(), cp, rtol=1e-4, atol=1e-6)
    weights = cp / 2  # relevance of the weights, the other half goes to the values
    logits = v[0] * v * (weights - a * weights.sum())  # relevance of the products q k
    attn = cp / 2 + logits / 2  # of the keys
    attn[0] += logits.sum() / 2  # of the query, token 0
    torch.testing.assert_close(relevance(OneHead(fused), x, ATTN).pixels.flatten().double(), attn, rtol=1e-4, atol=1e-6)


def without_constants(vit: nn.Module) -> nn.Module:
    for name, weight in vit.named_parameters():
        if name.endswith("bias") or name in ("cls_token", "pos_embed"):
            weight.data.zero_()
    return vit


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("rules", [ATTN, CP, Rules(name="gamma", attention="cp"), Rules(name="gamma")])
def test_a_transformer_without_constants_conserves_relevance(rules, fused):
    vit = without_constants(tiny_vit())
    for block in vit.blocks:
        block.attn.fused_attn = fused
    found = relevance(vit, images(3, 32), rules, 1)
    assert not found.bias.any()
    torch.testing.assert_close(found.total + found.softmax, found.start, rtol=0.05, atol=1e-6)
    if rules.attention == "cp":
        assert not found.softmax.any()
    assert all(block.attn.fused_attn == fused for block in vit.blocks)


@pytest.mark.parametrize("rules", [ATTN, CP])
def test_a_transformer_with_constants_reports_their_share(rules):
    found = relevance(tiny_vit(), images(3, 32), rules, 1)
    assert float(found.residual.abs().max()) < 1e-4
    assert float(found.bias.abs().min()) > 0


@pytest.mark.parametrize("batch_first", [True, False])
def test_multi_head_attention_of_torch_equals_its_steps(batch_first):
    class Own(nn.Module):
        def __init__(self, fused: bool) -> None:
            super().__init__()
            self.embed = nn.Conv2d(3, 8, 4, 4)
            self.attention = nn.MultiheadAttention(8, 2, batch_first=batch_first)
            self.head, self.fused = nn.Linear(8, 3), fused

        def forward(self, x: Tensor) -> Tensor:
            t = self.embed(x).flatten(2).transpose(1, 2)
            if self.fused:
                t = t if batch_first else t.transpose(0, 1)
                t, _ = self.attention(t, t, t, need_weights=False)
                return self.head((t if batch_first else t.transpose(0, 1)).mean(1))
            m = self.attention
            parts = functional.linear(t, m.in_proj_weight, m.in_proj_bias).chunk(3, -1)
            q, k, v = (part.unflatten(2, (2, 4)).transpose(1, 2) for part in parts)
            mixed = (q @ k.transpose(-2, -1) / 2).softmax(-1) @ v
            return self.head(m.out_proj(mixed.transpose(1, 2).flatten(2)).mean(1))

    one, two = Own(True), Own(False)
    two.load_state_dict(one.state_dict())
    x = images(2)
    torch.testing.assert_close(relevance(one, x, ATTN).pixels, relevance(two, x, ATTN).pixels, rtol=1e-3, atol=1e-6)
    assert EXACT.attention == "attn"
