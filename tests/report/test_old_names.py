"""What plug-ins of version 0.1 import is where it was."""

from whywrong.report import plug_ins


def test_the_names_of_a_view_are_where_they_were():
    from whywrong.report.parts import guests

    assert (guests.Shown, guests.SignedMap, guests.View) == (plug_ins.Shown, plug_ins.SignedMap, plug_ins.View)
