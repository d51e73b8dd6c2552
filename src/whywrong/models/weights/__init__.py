"""Load weights from files without executing anything, and match them to a module."""
