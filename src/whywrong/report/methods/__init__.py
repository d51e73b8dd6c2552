"""Reports of the methods, one module or package each, named by ``Method.report``."""
