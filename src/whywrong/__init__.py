"""Why an image classifier got these images wrong, and what to do about it."""

from whywrong._version import __version__

__all__ = ["__version__"]
