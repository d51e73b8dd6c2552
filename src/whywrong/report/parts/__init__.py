"""Deprecated package; plug-ins should import from :mod:`whywrong.report.plug_ins`."""
