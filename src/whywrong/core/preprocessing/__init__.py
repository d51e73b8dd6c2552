"""Preprocessing as other libraries state it, read into an ``InputSpec``."""
