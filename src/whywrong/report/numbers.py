"""Formatting of numbers and names, with units and at most three significant digits."""

from __future__ import annotations

import math
import unicodedata
from typing import Any

from whywrong.core.statistics import Interval

NBSP = "\u00a0"


def known(value: Any) -> bool:
    """Test whether a number is known, so not None, NaN or infinite."""
    return value is not None and not (isinstance(value, float) and not math.isfinite(value))


def sig(value: float, digits: int = 3) -> str:
    """Format a number with at most ``digits`` significant digits.

    Numbers from 0.001 to a million have no exponent; unknown ones give ``n/a``.
    """
    if not known(value):
        return "n/a"
    if value == 0:
        return "0"
    size = math.floor(math.log10(abs(value)))
    rounded = round(value, digits - 1 - size)
    size = math.floor(math.log10(abs(rounded)))  # 0.9996 becomes 1.00, one digit more before the point
    if size < -3:
        return f"{value:.{digits - 1}e}".replace("e-0", "e-").replace("-", "\u2212")
    decimals = max(0, digits - 1 - size)
    text = f"{rounded:,.{decimals}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return text.replace("-", "\u2212")


def count(n: int, singular: str, plural: str | None = None) -> str:
    """Format a count, as in ``1 error`` or ``1,252 errors``."""
    return f"{n:,}{NBSP}{singular if n == 1 else plural or singular + 's'}"


def percent(share: float) -> str:
    """Format a share in 0..1 as ``26.8 %``.

    It has one decimal; 0 % and 100 % are only given if exact.
    """
    if not known(share):
        return "n/a"
    if 0 < share < 0.0005:
        return f"< 0.1{NBSP}%"
    if 0.9995 <= share < 1:
        return f"> 99.9{NBSP}%"
    return f"{100 * share:.1f}".removesuffix(".0") + f"{NBSP}%"


def share(hits: int, n: int) -> str:
    """Format a share as ``26.8 % (134 of 500)``."""
    return f"{percent(hits / n)} ({hits:,} of {n:,})" if n else "n/a (none)"


def interval(estimate: Interval) -> str:
    """Format the 95 % interval of a share, as in ``23.1 to 30.8 %``."""
    if not known(estimate.value):
        return "n/a"
    return f"{percent(estimate.low)} to {percent(estimate.high)}".replace(f"{NBSP}% to", " to")


def grey_levels(value: float, digits: int = 2) -> str:
    """Format a size in grey levels of 0..255, as in ``0.31 grey levels``."""
    text = sig(value, digits)
    return f"{text}{NBSP}grey level{'' if text == '1' else 's'}"


def duration(seconds: float) -> str:
    """Format a duration, as in ``0.8 s``, ``4 min 10 s`` or ``2 h 5 min``."""
    if not known(seconds):
        return "n/a"
    if seconds < 60:
        return f"{sig(seconds)}{NBSP}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}{NBSP}min {rest}{NBSP}s" if rest else f"{minutes}{NBSP}min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,}{NBSP}h {minutes}{NBSP}min" if minutes else f"{hours:,}{NBSP}h"


def ordinal(n: int) -> str:
    """Format an ordinal number, as in ``1st``, ``2nd`` or ``11th``."""
    ending = "th" if n % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n:,}{ending}"


def listed(words: list[str], conjunction: str = "and") -> str:
    """Join words as ``a``, ``a and b`` or ``a, b and c``."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} {conjunction} {words[-1]}"


def shown(text: Any) -> str:
    """Write any name as one visible line.

    Control, direction and undecodable characters are escaped. Bytes that are not UTF-8 (lone surrogates) become
    ``\\xNN``.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", "surrogateescape")
    return "".join(character if _visible(character) else _escaped(character) for character in str(text))


def _visible(character: str) -> bool:
    # Format characters include the direction overrides; the zero-width joiner is kept, since emoji need it.
    return character == "\u200d" or unicodedata.category(character) not in {"Cc", "Cf", "Cs", "Zl", "Zp"}


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(character, f"\\u{code:04x}" if code > 0xFF else f"\\x{code:02x}")
