"""Pictures that a page stores once and shows in several places."""

from __future__ import annotations


class Pictures:
    """CSS classes that show pictures as backgrounds, one per distinct picture."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def add(self, address: str) -> str:
        """Return the CSS class of a picture.

        Args:
            address: ``data:`` URI of the picture; an empty one has no class.
        """
        return self._names.setdefault(address, f"p{len(self._names)}") if address else ""

    def style(self) -> str:
        """Return the CSS rules of all pictures."""
        return "".join(f".{name}{{background-image:url({address})}}\n" for address, name in self._names.items())
