"""Names of an earlier release; plug-ins import theirs from :mod:`whywrong.report.plug_ins`."""
