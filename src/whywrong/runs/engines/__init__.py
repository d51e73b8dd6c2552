"""Where tasks run: in this process, or in spawned processes that may die."""
