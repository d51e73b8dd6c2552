"""Names of an earlier release; plug-ins import their names from :mod:`whywrong.report.plug_ins`."""

from whywrong.report.plug_ins import Shown, SignedMap, View

__all__ = ["Shown", "SignedMap", "View"]
