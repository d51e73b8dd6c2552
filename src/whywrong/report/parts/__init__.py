"""Names of an earlier release; plug-ins import their names from :mod:`whywrong.report.plug_ins`."""
