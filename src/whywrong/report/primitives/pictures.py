"""Pictures of a page that are written once and shown in several places."""

from __future__ import annotations


class Pictures:
    """Style classes that show pictures as backgrounds, one for each different picture."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def add(self, address: str) -> str:
        """Return the style class of a picture.

        Args:
            address: Its ``data:`` address; an empty one has no class.
        """
        return self._names.setdefault(address, f"p{len(self._names)}") if address else ""

    def style(self) -> str:
        """Write the rules of all pictures."""
        return "".join(f".{name}{{background-image:url({address})}}\n" for address, name in self._names.items())
