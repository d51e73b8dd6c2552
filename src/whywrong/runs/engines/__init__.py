"""Engines that run tasks in this process, or in spawned processes that may crash."""
