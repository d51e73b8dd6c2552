"""The run folder on disk: files that a crash cannot tear, their layout, lock, tables and schemas."""
