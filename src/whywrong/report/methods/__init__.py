"""Reports of the methods, one module or package per method, named in ``Method.report``."""
