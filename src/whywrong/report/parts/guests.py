"""Names of an earlier release: what a plug-in imports is in :mod:`whywrong.report.plug_ins`."""

from whywrong.report.plug_ins import Shown, SignedMap, View

__all__ = ["Shown", "SignedMap", "View"]
