"""Labels of the data against classes of the model: never guessed."""

from __future__ import annotations

import pickle

import pytest

from whywrong.core.classes import ClassList
from whywrong.core.errors import InputError, UnmatchedLabelError
from whywrong.core.label_match import describe_respelled, find_class, match_labels

NAMES = ClassList(("tench", "crane", "crane", "tabby"), ("n01", "n02", "n03", "n04"))


def test_labels_are_read_as_index_wnid_or_name():
    assert match_labels(["0", "3"], NAMES) == {"0": 0, "3": 3}
    assert match_labels(["n03", "n01"], NAMES) == {"n03": 2, "n01": 0}
    assert match_labels(["tabby", "tench"], NAMES) == {"tabby": 3, "tench": 0}


def test_an_ambiguous_name_stops_and_asks_for_index_or_wnid():
    with pytest.raises(InputError, match=r"crane.*\[1, 2\].*index or wnid"):
        match_labels(["crane", "tench"], NAMES)


def test_only_labels_of_the_data_must_match():
    assert match_labels(["tabby"], NAMES) == {"tabby": 3}
    assert match_labels([], NAMES) == {}


def test_an_unknown_label_is_named_with_the_nearest_class():
    with pytest.raises(
        UnmatchedLabelError, match='"tabby_cat" is not among the model\'s 4 classes; nearest: "tabby"'
    ) as error:
        match_labels(["tabby_cat"], NAMES)
    assert error.value.label == "tabby_cat"
    assert pickle.loads(pickle.dumps(error.value)).label == "tabby_cat"


def test_mixed_ways_of_naming_are_refused():
    with pytest.raises(InputError, match="mix ways"):
        match_labels(["n01", "tabby"], NAMES)


def test_two_complete_ways_that_disagree_stop_until_the_owner_says_which():
    digits = ClassList(("1", "0"))
    with pytest.raises(InputError, match="--label-by"):
        match_labels(["0", "1"], digits)
    assert match_labels(["0", "1"], digits, label_by="name") == {"0": 1, "1": 0}
    assert match_labels(["0", "1"], digits, label_by="index") == {"0": 0, "1": 1}
    assert match_labels(["0", "1"], ClassList(("0", "1"))) == {"0": 0, "1": 1}  # both ways agree


@pytest.mark.parametrize("label", ["3", "4", "-1", "1.0", " 1", "03", "", "nan", "٢", "9" * 30])
def test_an_index_outside_or_not_whole_is_refused(label):
    with pytest.raises(InputError):
        match_labels([label], ClassList(("a", "b", "c")))


@pytest.mark.parametrize("way", ["wnid", "colour", ""])
def test_a_way_that_does_not_exist_is_refused(way):
    with pytest.raises(InputError, match="matched by"):
        match_labels(["a"], ClassList(("a", "b")), label_by=way)


def test_records_beside_the_data_add_names_and_wnids():
    plain = ClassList(("0", "1", "2"))
    records = [{"index": 2, "name": "owl", "wnid": "n9"}, {"index": 0, "name": "cat", "wnid": "n7"}]
    assert match_labels(["owl", "cat"], plain, records=records) == {"owl": 2, "cat": 0}
    assert match_labels(["n9"], plain, records=records) == {"n9": 2}
    with pytest.raises(InputError, match="class 3"):
        match_labels(["owl"], plain, records=[{"index": 3, "name": "owl"}])


IMAGENET = ClassList(
    (
        "tabby, tabby cat",
        "tiger cat",
        "jaguar, panther, Panthera onca",
        "cougar, puma, panther",
        "bathtub, tub",
        "tub, vat",
        "crane",
        "crane",
        "Cardigan, Cardigan Welsh corgi",
        "cardigan",
        "golden retriever",
        "T-shirt, tee shirt",
    ),
    tuple(f"n{i:08d}" for i in range(12)),
)


@pytest.mark.parametrize(
    ("label", "index"),
    [
        ("tabby", 0),  # first synonym
        ("tabby cat", 0),  # synonym of one class only
        ("Panthera onca", 2),
        ("puma", 3),
        ("tub", 5),  # first synonym of one class, a later one of another
        ("golden_retriever", 10),
        ("Golden-Retriever", 10),
        ("GOLDEN  RETRIEVER", 10),
        ("t_shirt", 11),
        ("Tee_Shirt", 11),
        ("n00000010-golden_retriever", 10),
        ("N00000010", 10),
        ("cardigan", 9),  # to the letter
        ("Cardigan", 8),
    ],
)
def test_synonyms_and_spellings_of_one_class_match_it(label, index):
    assert match_labels([label], IMAGENET) == {label: index}


@pytest.mark.parametrize(
    "label", ["panther", "Panther", "crane", "Crane", "CARDIGAN", "card-igan", "leopard", "n99999999", "n000000100"]
)
def test_what_stands_for_no_class_or_for_several_is_refused(label):
    with pytest.raises(UnmatchedLabelError, match=r"index or wnid|not among"):
        match_labels([label], IMAGENET)


def test_two_classes_that_differ_in_case_stay_apart_only_where_the_data_spells_as_the_model():
    assert match_labels(["Cardigan", "golden retriever"], IMAGENET) == {"Cardigan": 8, "golden retriever": 10}
    with pytest.raises(UnmatchedLabelError, match="Cardigan"):  # here every name begins with a capital
        match_labels(["Cardigan", "Golden Retriever"], IMAGENET)


def test_accents_match_however_they_are_composed():
    classes = ClassList(("caf\u00e9", "bar"))
    assert match_labels(["cafe\u0301", "bar"], classes) == {"cafe\u0301": 0, "bar": 1}


@pytest.mark.parametrize("width", [2, 3, 5, 8])
def test_indices_may_be_padded_with_zeros(width):
    labels = [f"{i:0{width}d}" for i in range(12)]
    assert match_labels(labels, IMAGENET) == {label: i for i, label in enumerate(labels)}


def test_padded_numbers_that_are_also_names_in_another_order_stop():
    with pytest.raises(InputError, match="--label-by"):
        match_labels(["00", "01"], ClassList(("01", "00")))


def test_aliases_name_a_class_too():
    classes = ClassList(("crane bird", "crane"), aliases=(("crane", "heron"), ("crane",)))
    assert match_labels(["crane", "crane bird"], classes) == {"crane": 1, "crane bird": 0}
    assert match_labels(["heron"], classes) == {"heron": 0}


def test_labels_that_count_from_1_are_told_so():
    with pytest.raises(InputError, match=r'"3" is not among .* 0 to 2; these labels count from 1'):
        match_labels(["1", "2", "3"], ClassList(("a", "b", "c")))


def test_the_nearest_class_is_looked_for_among_synonyms():
    with pytest.raises(InputError, match='nearest: "puma"'):
        match_labels(["Pumas"], IMAGENET)
    with pytest.raises(InputError, match='nearest: "tabby'):
        match_labels(["tabbi"], IMAGENET)


def test_other_spellings_are_described_and_exact_labels_are_not():
    classes = ClassList(("golden retriever", "tabby, tabby cat", "fox"), ("n00000001", "n00000002", "n00000003"))
    for labels in (["golden retriever", "tabby"], ["0", "01"], ["n00000001"]):
        assert describe_respelled(match_labels(labels, classes), classes) is None
    found = describe_respelled(match_labels(["Golden_Retriever", "fox", "tabby_cat"], classes), classes)
    assert found is not None
    assert found.startswith("2 of 3 labels")
    assert '"Golden_Retriever" as "golden retriever"' in found
    assert '"tabby_cat" as "tabby, tabby cat"' in found


@pytest.mark.parametrize(
    ("text", "index"),
    [
        ("tiger cat", 1),
        ("n00000003", 3),
        ("7", 7),
        ("007", 7),
        ("tabby", 0),
        ("Tabby_Cat", 0),
        ("golden-retriever", 10),
    ],
)
def test_one_class_is_found_by_name_wnid_index_synonym_or_spelling(text, index):
    assert find_class(text, IMAGENET) == index


def test_a_name_comes_before_an_index():
    assert find_class("0", ClassList(("1", "0"))) == 1


@pytest.mark.parametrize("text", ["panther", "crane", "Crane", "leopard", "12", "-1", ""])
def test_a_text_that_stands_for_no_class_or_for_several_is_refused(text):
    with pytest.raises(UnmatchedLabelError):
        find_class(text, IMAGENET)


ANIMALS = ClassList(("cat", "dog", "owl, barn owl"), ("n1", "n2", "n3"))


def records(*names: str, wnids: tuple[str, ...] = ()) -> list[dict[str, object]]:
    beside = [{"wnid": wnid} for wnid in wnids] or [{}] * len(names)
    return [
        {"index": index, "name": name, **more} for index, (name, more) in enumerate(zip(names, beside, strict=True))
    ]


@pytest.mark.parametrize(
    ("named", "text"),
    [
        (records("dog", "cat", "owl"), r'for 2 of 3 classes .* \(class 0 is "dog" and "cat"\).* --label-by index'),
        (records("cat", "owl", "dog"), "class 1 is"),
        (records("Katze", "Hund", "Eule"), "for 3 of 3 classes"),
        (records("cat", "fox", "wolf"), "for 2 of 3 classes"),
        (records("Katze", "Hund", "Eule", wnids=("n2", "n1", "n3")), "for 2 of 3 classes"),
    ],
)
def test_whole_numbers_stop_if_classes_json_numbers_other_classes(named, text):
    with pytest.raises(InputError, match=text):
        match_labels(["0", "2"], ANIMALS, records=named)
    assert match_labels(["0", "2"], ANIMALS, records=named, label_by="index") == {"0": 0, "2": 2}


@pytest.mark.parametrize(
    "named",
    [
        records("cat", "dog", "owl"),
        records("Cat", "DOG", "barn owl"),
        records("cat", "dog", "screech owl"),  # one unknown name among known ones
        records("Katze", "Hund", "Eule", wnids=("n1", "n2", "n3")),
    ],
)
def test_whole_numbers_are_indices_if_classes_json_agrees(named):
    assert match_labels(["0", "2"], ANIMALS, records=named) == {"0": 0, "2": 2}


def test_a_model_without_names_takes_whole_numbers_as_they_are():
    assert match_labels(["1"], ClassList(("0", "1", "2")), records=records("dog", "cat", "owl")) == {"1": 1}
