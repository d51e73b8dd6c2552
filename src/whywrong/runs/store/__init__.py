"""The run folder on disk: crash-safe files, their layout, lock, tables and schemas."""
