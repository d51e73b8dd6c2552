"""Conservation and cost of relevance over model families with random weights, as JSON.

    python benchmarks/relevance.py --families resnet18,vgg11,vit_tiny_patch16_224 --side 64

Every family is either conserved or refused by name. ``seconds`` is the time of the pair of two classes,
``seconds_plain`` that of one forward and two backward passes of the plain model.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import torch

from whywrong.core.errors import WhyWrongError
from whywrong.explain.relevance import RelevanceConfig, relevance
from whywrong.models.classifier import Classifier

FAMILIES = (
    "resnet18,resnext50_32x4d,wide_resnet50_2,seresnet18,resnetv2_50,res2net50_26w_4s,skresnet18,resnest14d,"
    "vgg11,densenet121,mobilenetv2_050,mobilenetv3_small_050,mobilenetv4_conv_small,efficientnet_b0,"
    "mnasnet_050,fbnetc_100,ghostnet_050,regnetx_002,regnety_002,convnext_atto,convnextv2_atto,repvgg_a0,"
    "dla34,dpn48b,hrnet_w18_small,inception_v3,xception41,selecsls42,cspresnet50,darknet53,nfnet_f0,gernet_s,"
    "tinynet_e,lcnet_035,hardcorenas_a,mobileone_s0,edgenext_xx_small,poolformer_s12,mixer_s32_224,"
    "gmlp_ti16_224,resmlp_12_224,vit_tiny_patch16_224,deit_tiny_patch16_224,cait_xxs24_224,"
    "xcit_nano_12_p16_224,swin_tiny_patch4_window7_224,pit_ti_224,levit_128s"
)


def measure(name: str, side: int) -> dict[str, Any]:
    """Explain two images of noise by a family with random weights."""
    import timm

    torch.manual_seed(0)
    try:
        net = timm.create_model(name, num_classes=10, img_size=side).eval()
    except TypeError:
        net = timm.create_model(name, num_classes=10).eval()
    if getattr(net, "default_cfg", {}).get("fixed_input_size"):
        side = net.patch_embed.img_size[0] if hasattr(net, "patch_embed") else net.default_cfg["input_size"][1]
    x, y = torch.rand(2, 3, side, side), torch.tensor([0, 1])
    classifier = Classifier(net)
    try:
        relevance(classifier, x, y)  # finds out what kind of model it is
        start = time.perf_counter()
        found = relevance(classifier, x, y, config=RelevanceConfig())
        seconds = time.perf_counter() - start
    except WhyWrongError as error:
        return {"family": name, "outcome": "refused", "reason": str(error)}
    start = time.perf_counter()
    classifier.gradient(x, lambda logits, _: logits[:, :2])
    plain = time.perf_counter() - start
    refused = [reason for reason in found.reason if reason]
    return {
        "family": name,
        "outcome": "refused" if refused else "conserved",
        "reason": refused[0] if refused else None,
        "rule": found.rule,
        "residual": float(found.residual.max()),
        "bias": float(found.bias.nanmean()),
        "softmax": float(found.softmax.nanmean()),
        "seconds": seconds,
        "seconds_plain": plain,
    }


def main() -> None:
    """Measure the families that are named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--families", default=FAMILIES)
    parser.add_argument("--side", type=int, default=64)
    options = parser.parse_args()
    for name in options.families.split(","):
        print(json.dumps(measure(name, options.side)), flush=True)


if __name__ == "__main__":
    main()
