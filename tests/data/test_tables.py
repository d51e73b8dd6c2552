"""Tables beside the images: read, or stopped with the line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.data.pictures import encode, write

from whywrong.core.classes import ClassList
from whywrong.core.errors import BadItemError, DataError, InputError
from whywrong.core.input_spec import InputSpec
from whywrong.data.items import load_item
from whywrong.data.sources import open_source


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    for seed, name in enumerate(["a.png", "b.png", "c.png"]):
        write(folder / name, seed=seed)
    return folder


def opened(images: Path, text: str | bytes, name: str = "labels.csv"):
    path = images.parent / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return open_source(images, manifest=path)


def rows(source) -> list[tuple[str, str | None]]:
    return [(entry.key, entry.label) for entry in source.entries()]


GOOD = [("a.png", "cat"), ("b.png", "dog"), ("c.png", "cat")]
CSV = "path,label\na.png,cat\nb.png,dog\nc.png,cat\n"


@pytest.mark.parametrize(
    "text",
    [
        CSV,
        "\ufeff" + CSV,
        CSV.replace("\n", "\r\n"),
        CSV.replace(",", ";"),
        CSV.replace(",", "\t"),
        'path,label\n"a.png","cat"\n"b.png",dog\nc.png,"cat"\n',
        "Path, Label\n\na.png,cat\n./b.png, dog \nc.png,cat",
        "label,path\ncat,a.png\ndog,b.png\ncat,c.png\n",
    ],
    ids=["plain", "bom", "crlf", "semicolon", "tab", "quotes", "spaces", "order"],
)
def test_every_usual_kind_of_csv_is_read(images, text):
    source = opened(images, text)
    assert rows(source) == GOOD
    assert source.class_names == ("cat", "dog")
    assert source.warnings == ()


def test_parquet_is_read(images):
    path = images.parent / "labels.parquet"
    pq.write_table(pa.table({"path": ["a.png", "b.png", "c.png"], "label": [0, 1, 0]}), path)
    assert rows(open_source(images, manifest=path)) == [("a.png", "0"), ("b.png", "1"), ("c.png", "0")]
    pq.write_table(pa.table({"path": ["a.png", "b.png"], "label": [0.0, float("nan")]}), path)
    with pytest.raises(DataError, match=r"labels.parquet row 2: label 'nan' is not a class"):
        open_source(images, manifest=path)


@pytest.mark.parametrize(
    "text",
    [
        "path,label\na.png,0.0\nb.png,1.0\nc.png,0\n",
        "path,label\na.png,0\nb.png,1.\nc.png,0e0\n",
        ",path,label\n0,a.png,0.0\n1,b.png,1.0\n2,c.png,0.0\n",
        "Unnamed: 0,path,label\n0,a.png,0\n1,b.png,1\n2,c.png,0\n",
        "index;path;label\r\n0;a.png;0\r\n1;b.png;+1\r\n2;c.png;0\r\n",
    ],
)
def test_labels_that_pandas_made_floats_and_its_index_are_read(images, text):
    source = opened(images, text)
    assert rows(source) == [("a.png", "0"), ("b.png", "1"), ("c.png", "0")]
    assert source.warnings == ()


@pytest.mark.parametrize("kind", [pa.float64(), pa.float32(), pa.int8(), pa.uint64(), pa.string(), pa.binary()])
def test_whole_labels_of_every_type_of_parquet_are_read(images, kind):
    values = ["0", "1"] if kind == pa.string() else [b"0", b"1"] if kind == pa.binary() else [0, 1]
    table = pa.table({"path": ["a.png", "b.png"], "label": pa.array(values, kind)})
    pq.write_table(table, images.parent / "l.parquet")
    assert rows(open_source(images, manifest=images.parent / "l.parquet")) == [("a.png", "0"), ("b.png", "1")]


@pytest.mark.parametrize("kind", [pa.bool_(), pa.list_(pa.int64()), pa.date32()])
def test_labels_of_other_types_stop_with_their_row(images, kind):
    values = [[1], [0]] if kind == pa.list_(pa.int64()) else [True, False] if kind == pa.bool_() else [1, 2]
    table = pa.table({"path": ["a.png", "b.png"], "label": pa.array(values, kind)})
    pq.write_table(table, images.parent / "l.parquet")
    with pytest.raises(DataError, match=r"^l.parquet row 1: .*label"):
        open_source(images, manifest=images.parent / "l.parquet")


@pytest.mark.parametrize("form", ["sub\\d.png", ".\\sub\\d.png", "sub/d.png", "sub\\\\d.png", "sub\\.\\d.png"])
def test_paths_written_on_windows_are_found(images, form):
    (images / "sub").mkdir()
    write(images / "sub" / "d.png")
    source = opened(images, "\ufeff,path,label\r\n0,a.png,cat\r\n1," + form + ",dog\r\n")
    assert rows(source) == [("a.png", "cat"), ("sub/d.png", "dog")]
    assert all(source.read(entry) for entry in source.entries())


def test_a_file_whose_name_holds_a_backslash_is_still_found(images):
    write(images / "back\\slash.png")
    assert rows(opened(images, "path,label\nback\\slash.png,cat\n")) == [("back\\slash.png", "cat")]


@pytest.mark.parametrize("image", ["file_name", "File_Name"])
def test_columns_are_read_by_the_names_that_are_given(images, image):
    path = images.parent / "labels.csv"
    path.write_text("file_name,coarse,Fine\na.png,pet,cat\nb.png,pet,dog\n")
    source = open_source(images, manifest=path, image_column=image, label_column="fine")
    assert rows(source) == [("a.png", "cat"), ("b.png", "dog")]
    assert source.warnings[0] == "labels.csv: columns not used: coarse"
    assert source.locate("dog") == "labels.csv line 3"
    assert rows(source.spec.open()) == rows(source)
    with pytest.raises(DataError, match='no column "middle"; the columns are'):
        open_source(images, manifest=path, image_column=image, label_column="middle")
    with pytest.raises(DataError, match=r'no column "picture"; the columns are .*--image-column'):
        open_source(images, manifest=path, image_column="picture")
    with pytest.raises(DataError, match=r'no column "label".*--label-column'):
        open_source(images, manifest=path, image_column=image)
    unlabelled = open_source(images, manifest=path, image_column=image, label_column="none")
    assert [entry.label for entry in unlabelled.entries()] == [None, None]


def test_columns_are_refused_where_there_are_none(images):
    with pytest.raises(DataError, match=r"--label-column .* does not apply to a folder of images"):
        open_source(images, label_column="label")


def test_fractions_of_a_box_stand_for_the_pixel_that_holds_them(images):
    source = opened(images, "path,label,x_min,y_min,x_max,y_max\na.png,1,1.5,2.0,3.99,5\n")
    assert next(iter(source.entries())).box == (1, 2, 3, 5)


def test_a_manifest_in_the_folder_or_given_itself_is_found(images):
    (images / "manifest.csv").write_text(CSV)
    assert rows(open_source(images)) == GOOD
    assert rows(open_source(images / "manifest.csv")) == GOOD


@pytest.mark.parametrize(
    ("label", "why"),
    [
        ("-1", "negative"),
        ("1.5", "not a whole number"),
        ("2.50", "not a whole number"),
        ("1e-3", "not a whole number"),
        ("1e300", "not a whole number"),
        ("-0.0", "negative"),
        ("-2.0", "negative"),
        ("nan", "not a class"),
        ("NaN", "not a class"),
        ("inf", "not a class"),
        ("", "missing"),
        ('" "', "' '"),
    ],
)
def test_a_label_that_is_no_class_stops_with_its_line(images, label, why):
    with pytest.raises(DataError, match=rf"^labels.csv line 3: .*{why}"):
        opened(images, f"path,label\na.png,1\nb.png,{label}\n")


def test_a_label_out_of_range_stops_with_its_line_when_the_model_is_known(images):
    source = opened(images, "path,label\na.png,1\nb.png,7\nc.png,7\n")
    with pytest.raises(InputError, match=r'^labels.csv line 3: class "7" is not among the model\'s 3 classes'):
        source.match_labels(ClassList(("x", "y", "z")))
    assert opened(images, "path,label\na.png,1\n").match_labels(ClassList(("x", "y"))) == {"1": 1}


def test_an_unknown_class_stops_as_the_style_guide_shows(images):
    source = opened(images, "path,label\na.png,tabby\nb.png,tabby_cat\n")
    with pytest.raises(InputError) as caught:
        source.match_labels(ClassList(("tabby", "tiger")))
    assert str(caught.value) == (
        'labels.csv line 3: class "tabby_cat" is not among the model\'s 2 classes; nearest: "tabby"'
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "labels.csv: empty file"),
        ("file_name,label\na.png,1\n", 'labels.csv line 1: no column "path"'),
        ("path,label,label\na.png,1,2\n", "labels.csv line 1: column 'label' stands twice"),
        ("path,label\na.png,1,2\n", "labels.csv line 2: expected 2 fields, got 3"),
        ('path,label\na.png,1\n"b.png,2\n', "labels.csv line 3: "),
        ("path,label\n,1\n", "labels.csv line 2: expected a path"),
        (CSV.encode("utf-16"), "labels.csv line 1: not UTF-8"),
        ("path,label\n../secret.png,1\n", 'labels.csv line 2: "../secret.png" leads out of'),
        ("path,label\n/etc/passwd,1\n", 'labels.csv line 2: "/etc/passwd" leads out of'),
        ("path,label,x_min,y_min,x_max,y_max\na.png,1,3,0,2,5\n", "labels.csv line 2: the box"),
        ("path,label,x_min,y_min,x_max,y_max\na.png,1,1,1,,5\n", "labels.csv line 2: x_max must be"),
        ("path,label,x_min,y_min,x_max,y_max\na.png,1,nan,1,3,5\n", "labels.csv line 2: x_min must be"),
        ("path,label,x_min,y_min,x_max,y_max\na.png,1,-0.5,1,3,5\n", "labels.csv line 2: x_min must be"),
        ("path,label\n..\\secret.png,1\n", 'labels.csv line 2: "../secret.png" leads out of'),
        ("path,label\n\\etc\\passwd,1\n", 'labels.csv line 2: "/etc/passwd" leads out of'),
        ("path,cat,dog\na.png,1,0\nb.png,0,1\n", "labels.csv: its columns cat, dog look one-hot"),
        (",path,cat,dog\n0,a.png,1.0,0.0\n1,b.png,0.0,1.0\n", "labels.csv: its columns cat, dog look one-hot"),
        ("path,class,width\na.png,1,7\n", 'labels.csv line 1: no column "label"; the columns are'),
        ("path,fine,coarse\na.png,1,7\n", 'labels.csv line 1: no column "label"; the columns are'),
        ("path,label,x_min,y_min,x_max,y_max\na.png,1,-1,1,3,5\n", "labels.csv line 2: x_min must be"),
        ("path,label\n", "labels.csv: no rows"),
    ],
)
def test_a_broken_table_stops_with_the_line(images, text, message):
    with pytest.raises(DataError) as caught:
        opened(images, text)
    assert str(caught.value).startswith(message)


def test_the_line_of_a_record_is_right_behind_a_quoted_line_break(images):
    write(images / "two\nlines.png")
    text = 'path,label\n"two\nlines.png",cat\nb.png,-3\n'
    with pytest.raises(DataError, match="line 4: label -3"):
        opened(images, text)
    assert rows(opened(images, text.replace("-3", "dog"))) == [("two\nlines.png", "cat"), ("b.png", "dog")]


def test_a_repeated_row_is_read_once_and_said(images):
    source = opened(images, CSV + "a.png,cat\n./a.png,cat\n")
    assert rows(source) == GOOD
    assert source.ignored == {"duplicate row": 2}
    assert "2 rows repeat" in source.warnings[0]


def test_one_path_under_two_labels_is_two_items(images):
    source = opened(images, CSV + "a.png,dog\n")
    found = list(source.entries())
    assert [entry.key for entry in found] == ["a.png//cat", "b.png", "c.png", "a.png//dog"]
    assert len({entry.item_id for entry in found}) == 4
    assert source.read(found[0]) == source.read(found[3]) == (images / "a.png").read_bytes()
    assert list(source.spec.open().entries()) == found


def test_a_repeated_row_with_another_box_stops(images):
    text = "path,label,x_min,y_min,x_max,y_max\na.png,1,0,0,2,2\na.png,1,0,0,3,3\n"
    with pytest.raises(DataError, match=r"line 3: another box or mask .* line 2"):
        opened(images, text)


def test_a_missing_file_is_an_item_and_both_counts_are_said(images):
    source = opened(images, CSV + "gone.png,cat\n")
    assert source.warnings == (
        f"labels.csv lists 4 items, {images} holds 3 images: 1 listed files are not there "
        '(labels.csv line 5, "gone.png")',
    )
    with pytest.raises(BadItemError, match="missing"):
        source.read(list(source.entries())[3])


def test_images_without_a_row_are_said_with_both_counts(images):
    source = opened(images, "path,label\na.png,cat\n")
    assert source.warnings == (
        f"labels.csv lists 1 items, {images} holds 3 images: 2 images have no row and are left out",
    )


def test_a_table_of_another_folder_stops(images):
    with pytest.raises(DataError, match="none of its 2 files"):
        opened(images, "path,label\nx.png,cat\ny.png,dog\n")


def test_a_planted_cause_goes_with_its_item(images):
    source = opened(images, "path,label,cause\na.png,cat,\nb.png,dog,spurious (mark)\nc.png,cat,\n")
    assert [entry.cause for entry in source.entries()] == [None, "spurious (mark)", None]
    assert source.warnings == ()


def test_extra_columns_are_named(images):
    source = opened(images, "path,label,author\na.png,cat,x\nb.png,dog,y\nc.png,cat,z\n")
    assert source.warnings == ("labels.csv: columns not used: author",)


def test_a_table_without_labels_lists_unlabelled_images(images):
    source = opened(images, "path\na.png\nb.png\nc.png\n")
    assert rows(source) == [("a.png", None), ("b.png", None), ("c.png", None)]
    assert "have no label" in source.warnings[0]


def test_paths_through_links_out_of_the_folder_need_the_option(images, tmp_path_factory):
    outside = tmp_path_factory.mktemp("elsewhere")
    write(outside / "x.png")
    (images / "link.png").symlink_to(outside / "x.png")
    (images / "sub").symlink_to(outside)
    for name in ("link.png", "sub/x.png"):
        with pytest.raises(DataError, match=r"line 2: .*leads out"):
            opened(images, f"path,label\n{name},1\n")
    table = images.parent / "ok.csv"
    table.write_text(f"path,label\nlink.png,1\nsub/x.png,2\n{outside}/x.png,3\n")
    source = open_source(images, manifest=table, follow_links=True)
    assert len(source) == 3
    assert all(source.read(entry) for entry in source.entries())


def test_an_absolute_path_inside_the_folder_is_the_same_item(images):
    assert rows(opened(images, f"path,label\n{images}/a.png,cat\n")) == [("a.png", "cat")]


def test_boxes_and_masks_arrive_at_the_input(images):
    mask = np.zeros((8, 8), np.uint8)
    mask[2:4, 5:7] = 255
    (images / "m.png").write_bytes(encode(mask))
    source = opened(
        images,
        "path,label,mask,x_min,y_min,x_max,y_max\na.png,1,,1,2,3,4\nb.png,1,m.png,,,,\nc.png,1,gone.png,,,,\n",
    )
    assert source.warnings == ()
    items = [load_item(source, entry, InputSpec(height=8, width=8)) for entry in source.entries()]
    assert items[0].mask is not None
    assert items[1].mask is not None
    assert np.argwhere(items[0].mask).tolist() == [[y, x] for y in (2, 3, 4) for x in (1, 2, 3)]
    np.testing.assert_array_equal(items[1].mask, mask > 0)
    assert items[2].mask is None
    assert items[2].notes[0].startswith("mask not used: file has vanished")


def boxed(tmp_path: Path, text: str):
    for name in ("cat/a.png", "cat/b.png", "dog/a.png"):
        write(tmp_path / "images" / name)
    (tmp_path / "boxes.csv").write_text("file,index,x_min,y_min,x_max,y_max\n" + text)
    return open_source(tmp_path / "images", boxes=tmp_path / "boxes.csv")


def test_a_boxes_file_is_matched_against_the_tail_of_the_path(tmp_path):
    source = boxed(tmp_path, "b.png,0,1,2,3,4\ndog/a.png,0,0,0,1,1\n")
    assert {entry.key: entry.box for entry in source.entries()} == {
        "cat/a.png": None,
        "cat/b.png": (1, 2, 3, 4),
        "dog/a.png": (0, 0, 1, 1),
    }
    assert list(source.spec.open().entries()) == list(source.entries())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.png,0,1,2,3,4\n", "stands for several images"),
        ("zz.png,0,1,2,3,4\n", "none of its 1 files is among the images"),
        ("b.png,0,1,2,3,4\nb.png,0,1,2,3,5\n", "boxes.csv line 3: this file has another box already"),
        ("b.png,0,1,2,3,\n", "boxes.csv line 2: y_max must be"),
        ("", "no boxes"),
    ],
)
def test_a_wrong_boxes_file_stops(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        boxed(tmp_path, text)


@pytest.mark.parametrize("form", ["dog\\a.png", "dog/a.png", ".\\dog\\a.png"])
def test_boxes_written_on_windows_find_their_image(tmp_path, form):
    source = boxed(tmp_path, f"b.png,0,1,2,3,4\n{form},0,0.0,0.5,1.0,1.75\n")
    assert {entry.key: entry.box for entry in source.entries()}["dog/a.png"] == (0, 0, 1, 1)


def test_boxes_without_an_image_are_counted(tmp_path):
    source = boxed(tmp_path, "b.png,0,1,2,3,4\nb.png,9,1,2,3,4\nzz.png,0,1,2,3,4\n")
    assert source.warnings == ("1 of 2 boxes of boxes.csv belong to no image",)


def test_real_boxes_all_find_their_image(shared_data):
    folder = shared_data / "tiny_imagenet_boxes_a"
    source = open_source(folder / "images", boxes=folder / "boxes.csv")
    assert source.warnings == ()
    assert sum(entry.box is not None for entry in source.entries()) == len(source) == 1000
    by_key = {entry.key: entry.box for entry in source.entries()}
    assert by_key["n01443537/val_1230.JPEG"] == (0, 3, 63, 63)
