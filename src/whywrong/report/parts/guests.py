"""Deprecated names; plug-ins should import from :mod:`whywrong.report.plug_ins`."""

from whywrong.report.plug_ins import Shown, SignedMap, View

__all__ = ["Shown", "SignedMap", "View"]
