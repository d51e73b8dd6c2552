"""Print the command to run next as the last line of a command."""

from __future__ import annotations

import shlex

from whywrong.cli.streams import printable, say


def say_next(*words: object) -> None:
    """Print ``Next: whywrong ...`` on stderr, quoted for pasting into a shell."""
    say("Next: whywrong " + " ".join(printable(shlex.quote(str(word))) for word in words))
