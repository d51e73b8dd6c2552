"""Classes of library models: ImageNet's wnids and synonyms come with timm and torchvision alike."""

from __future__ import annotations

import pytest
import torchvision

from whywrong.core.errors import InputError
from whywrong.core.label_match import match_labels
from whywrong.models.loading.torchvision_nets import classes_of_training
from whywrong.models.loading.zoo import load_classifier

CATEGORIES = torchvision.models.get_model_weights("resnet50").DEFAULT.meta["categories"]


@pytest.fixture(scope="module", params=["timm:mobilenetv3_small_050", "torchvision:mobilenet_v3_small"])
def classes(request):
    return load_classifier(request.param, weights="random", batch_size=1, device="cpu").classes


@pytest.mark.parametrize(
    "labels",
    [
        {"n01440764": 0, "n02102040": 217, "n02979186": 482},  # Imagenette
        {"n02085620-Chihuahua": 151, "n02085782-Japanese_spaniel": 152},  # Stanford Dogs
        {"golden retriever": 207, "tabby": 281},
        {"tabby, tabby cat": 281, "goldfish, Carassius auratus": 1},
        {"Golden_Retriever": 207, "tabby_cat": 281},
        {"Carassius auratus": 1, "mountain_bike": 671},
        {"0": 0, "999": 999},
        {"00000": 0, "00281": 281},
    ],
    ids=str,
)
def test_labels_of_imagenet_match_in_every_usual_way(classes, labels):
    assert match_labels(labels, classes) == labels


@pytest.mark.parametrize("label", ["panther", "Cardigan_", "Catamount", "Sus_scrofa"])
def test_names_of_several_classes_ask_for_index_or_wnid(classes, label):
    with pytest.raises(InputError, match=r"index or wnid|--label-by"):
        match_labels([label, "Tabby"], classes)


def test_names_that_are_torchvisions_own_stay(classes):
    if "crane bird" in classes.names:
        assert match_labels(["crane bird", "maillot tank suit", "crane"], classes) == {
            "crane bird": 134,
            "maillot tank suit": 639,
            "crane": 517,
        }


@pytest.mark.parametrize("categories", [CATEGORIES[::-1], CATEGORIES[:10], [*CATEGORIES[1:], "x"], ["cat", "dog"]])
def test_other_categories_get_no_wnids_of_imagenet(categories):
    found = classes_of_training(categories)
    assert found.names == tuple(categories)
    assert found.wnids is None
