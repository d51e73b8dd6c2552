"""Views of a run in DuckDB, and questions to them in SQL."""
