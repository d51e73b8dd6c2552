"""A picture is written once, however often it is shown."""

from whywrong.report.primitives.pictures import Pictures


def test_equal_pictures_share_one_class_and_one_rule():
    pictures = Pictures()
    names = [pictures.add(address) for address in ("data:a", "data:b", "data:a", "")]
    assert names == ["p0", "p1", "p0", ""]
    assert pictures.style() == ".p0{background-image:url(data:a)}\n.p1{background-image:url(data:b)}\n"
