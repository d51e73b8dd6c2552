"""Views of a run in DuckDB, and SQL queries on them."""
