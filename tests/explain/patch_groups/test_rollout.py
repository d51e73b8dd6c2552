"""Attention rollout, against a slow second writing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.contract.nets import build, snapshot
from tests.explain.patch_groups.nets import images, tiny_vit
from torch import Tensor, nn

from whywrong.core.access import Access
from whywrong.core.errors import AccessError, ModelError
from whywrong.explain.masking.tokens import CannotDropTokens
from whywrong.explain.patch_groups.rollout import _weights, rollout
from whywrong.models.classifier import Classifier


def slow_rollout(vit: nn.Module, x: Tensor) -> np.ndarray:
    """(rows, cols) of one image: every weight from the definition of attention, token by token."""
    with torch.no_grad():
        tokens = vit.norm_pre(vit._pos_embed(vit.patch_embed(x[None])))
        product = np.eye(tokens.shape[1])
        for block in vit.blocks:
            inner, attention = block.norm1(tokens)[0], block.attn
            heads, width = attention.num_heads, inner.shape[1] // attention.num_heads
            both = attention.qkv(inner)
            mean = np.zeros((len(inner), len(inner)))
            for head in range(heads):
                query = attention.q_norm(both[:, head * width : (head + 1) * width])
                at = inner.shape[1] + head * width
                key = attention.k_norm(both[:, at : at + width])
                for i in range(len(inner)):
                    score = np.array([float(query[i] @ key[j]) / width**0.5 for j in range(len(inner))])
                    weight = np.exp(score - score.max())
                    mean[i] += weight / weight.sum() / heads
            mixed = mean + np.eye(len(inner))
            product = (mixed / mixed.sum(1, keepdims=True)) @ product
            tokens = block(tokens)
    return product[0, vit.num_prefix_tokens :].reshape(4, 4)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize(
    "changes", [{}, {"distilled": True}, {"qk_norm": True}, {"reg_tokens": 2, "no_embed_class": True}]
)
def test_equals_a_slow_second_writing(fused, changes):
    vit = tiny_vit(**changes)
    for block in vit.blocks:
        block.attn.fused_attn = fused
    x = images(2)
    found = rollout(Classifier(vit, batch_size=1), x)
    for row in range(2):
        np.testing.assert_allclose(found[row].numpy(), slow_rollout(vit, x[row]), rtol=1e-4)


def test_shares_sum_to_one_with_those_of_the_class_token():
    found = rollout(Classifier(tiny_vit()), images(3))
    assert found.shape == (3, 4, 4)
    assert (found > 0).all()
    assert (found.sum((1, 2)) < 1).all()
    assert not torch.allclose(found[0], found[1])


def test_batches_do_not_matter_and_passes_are_counted():
    vit, x = tiny_vit(), images(5)
    one, two = Classifier(vit, batch_size=2), Classifier(vit)
    torch.testing.assert_close(rollout(one, x), rollout(two, x))
    assert one.forwards == two.forwards == 5


def test_model_and_images_stay_as_they_were_also_when_the_model_raises():
    vit, x = tiny_vit().train(), images(2)
    before = snapshot(vit, x)
    rollout(Classifier(vit), x)
    assert snapshot(vit, x) == before
    handle = vit.blocks[1].register_forward_hook(lambda *_: (_ for _ in ()).throw(ValueError("worn out")))
    before = snapshot(vit, x)
    with pytest.raises(ModelError, match="worn out"):
        rollout(Classifier(vit), x)
    assert snapshot(vit, x) == before
    handle.remove()
    assert float(torch.ones(2, 2, 3, 3).softmax(-1).sum()) == pytest.approx(12)  # nothing listens any more


def test_models_without_a_class_token_or_without_attention_are_refused():
    with pytest.raises(ModelError, match="class token"):
        rollout(Classifier(tiny_vit(class_token=False, global_pool="avg")), images(1))
    with pytest.raises(CannotDropTokens, match="no transformers"):
        rollout(Classifier(build("gap")), images(1))
    with pytest.raises(AccessError, match="INTERNALS"):
        rollout(Classifier(tiny_vit(), access=Access.SCORES), images(1))


def test_attention_that_cannot_be_seen_is_refused():
    vit = tiny_vit()

    class Plain(nn.Module):
        def forward(self, x: Tensor, **_: object) -> Tensor:
            return x

    vit.blocks[1].attn = Plain()
    with pytest.raises(ModelError, match="2 of 3 blocks"):
        rollout(Classifier(vit), images(1))


def test_no_images_give_no_maps():
    assert rollout(Classifier(tiny_vit()), images(1)[:0]).shape == (0, 4, 4)


@pytest.mark.parametrize("kind", [None, "numbers", "yes or no"])
def test_weights_of_fused_attention_are_recomputed_with_its_mask(kind):
    query, key, value = (torch.randn(2, 3, 5, 4, generator=torch.Generator().manual_seed(i)) for i in range(3))
    mask = torch.randn(5, 5, generator=torch.Generator().manual_seed(3))
    masks = {"numbers": mask, "yes or no": (mask > -0.5) | torch.eye(5, dtype=torch.bool)}
    given = {"attn_mask": masks.get(kind), "scale": 0.3}
    due = nn.functional.scaled_dot_product_attention(query, key, value, **given)
    torch.testing.assert_close(_weights(query, key, value, **given) @ value, due)


def test_rows_of_the_map_are_those_of_an_image_that_is_not_square():
    vit = tiny_vit(img_size=(16, 32))
    x = images(2)[:, :, :16]
    assert rollout(Classifier(vit), x).shape == (2, 2, 4)


def test_patches_that_are_not_square_give_rows_by_their_height():
    vit = tiny_vit(patch_size=(16, 8))
    assert rollout(Classifier(vit), images(1)).shape == (1, 2, 4)
