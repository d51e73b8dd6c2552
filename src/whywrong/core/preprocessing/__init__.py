"""Preprocessing of other libraries, read into an ``InputSpec``."""
