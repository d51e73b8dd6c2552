"""What the report shows of each method: one module or package a method, named by ``Method.report``."""
