"""``python -m whywrong``."""

from __future__ import annotations

from whywrong.cli import main

if __name__ == "__main__":
    main()
