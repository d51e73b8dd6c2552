"""Identify the format of a file by its first bytes, before any parser reads it.

Only the formats in ``ALLOWED`` are passed to Pillow, each to the one parser that fits. All others are recognised by
their magic number, so that the message can say what the file is and what to do.
"""

from __future__ import annotations

import re
import struct

from whywrong.core.errors import BadItemError

ALLOWED = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM")
"""Formats that are decoded, by content: still pictures that every training pipeline reads."""

MAX_PIXELS = 2**26
"""Largest width x height that is decoded, unless the owner says otherwise."""

_LEAST_CAP = 2**20  # bytes: small images may carry profiles and thumbnails
_BYTES_A_PIXEL = {"TIFF": 8, "PPM": 8}  # 16 bits in four channels, uncompressed; 4 bytes in all other formats
_IMAGE_ENDINGS = """
    jpg jpeg jpe jfif png apng gif webp bmp dib tif tiff ppm pgm pbm pnm pfm
    heic heif hif avif svg svgz jp2 j2k jpx jxl psd eps ps fits fit icns ico cur tga dds exr hdr
    qoi pcx xbm xpm sgi dcm cr2 cr3 nef arw dng raf orf rw2
"""
IMAGE_SUFFIXES = frozenset("." + ending for ending in _IMAGE_ENDINGS.split())
"""Endings that a listing takes for an image; the decoder then judges by content."""

_SUFFIXES_OF = {
    "JPEG": {".jpg", ".jpeg", ".jpe", ".jfif"},
    "PNG": {".png", ".apng"},
    "GIF": {".gif"},
    "WEBP": {".webp"},
    "BMP": {".bmp", ".dib"},
    "TIFF": {".tif", ".tiff"},
    "PPM": {".ppm", ".pgm", ".pbm", ".pnm", ".pfm"},
}
_RAW_SUFFIXES = {".cr2", ".nef", ".arw", ".dng", ".orf", ".rw2"}  # TIFF containers whose first image is a thumbnail

_CONVERT = "convert it to PNG or JPEG"
_REFUSED = [
    (re.compile(rb"%!PS|\xc5\xd0\xd3\xc6"), "EPS", _CONVERT),
    (re.compile(rb"%PDF"), "PDF", "export the picture as PNG or JPEG"),
    (re.compile(rb"8BPS"), "PSD", "export it as PNG or JPEG"),
    (re.compile(rb"SIMPLE  ="), "FITS", "scale it to 8 bit and " + _CONVERT),
    (re.compile(rb"icns"), "ICNS", _CONVERT),
    (re.compile(rb"\0\0[\x01\x02]\0"), "ICO", _CONVERT),
    (re.compile(rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"), "JPEG 2000", _CONVERT),
    (re.compile(rb"\xff\x0a|\0\0\0\x0cJXL "), "JPEG XL", _CONVERT + ", for example with djxl"),
    (re.compile(rb"II\xbc"), "JPEG XR", _CONVERT),
    (re.compile(rb"DDS "), "DDS", _CONVERT),
    (re.compile(rb"\x76\x2f\x31\x01"), "OpenEXR", "scale it to 8 bit and " + _CONVERT),
    (re.compile(rb"#\?RADIANCE|#\?RGBE"), "Radiance HDR", "scale it to 8 bit and " + _CONVERT),
    (re.compile(rb"qoif"), "QOI", _CONVERT),
    (re.compile(rb"P7[\s]"), "PAM", _CONVERT),
    (re.compile(rb"PK\x03\x04"), "zip archive", "unpack it"),
    (re.compile(rb"\x1f\x8b"), "gzip", "unpack it"),
    (re.compile(rb".{128}DICM", re.DOTALL), "DICOM", "scale it to 8 bit and " + _CONVERT),
    (re.compile(rb"II\*\0.{4}CR", re.DOTALL), "camera raw", "develop it to JPEG or PNG"),
]
_HEIC_BRANDS = {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1", b"heif"}
_PPM_MAGIC = re.compile(rb"P[1-6fF][\s#]")
_BMP_HEADERS = {12, 16, 40, 52, 56, 64, 108, 124}


def identify(data: bytes, suffix: str = "") -> str:
    """Identify the format of a file's content.

    Args:
        data: The whole file, or at least its first kilobyte.
        suffix: Suffix of the file's name, lower case, with the dot; only needed for camera raw files.

    Returns:
        One of ``ALLOWED``.

    Raises:
        BadItemError: The file is empty, not an image, or of an unsupported format.
    """
    if not data:
        raise BadItemError("empty file")
    name = _allowed(data)
    if name == "TIFF" and (suffix in _RAW_SUFFIXES or data[8:10] == b"CR"):
        raise BadItemError("format not allowed: camera raw; develop it to JPEG or PNG")
    if name is not None:
        return name
    brand = _iso_brand(data)
    if brand is not None:
        tool = "heif-convert" if brand == "HEIC" else "avifdec"
        raise BadItemError(f"format not allowed: {brand}; convert it to PNG or JPEG, for example with {tool}")
    for pattern, refused, remedy in _REFUSED:
        if pattern.match(data[:160]):
            raise BadItemError(f"format not allowed: {refused}; {remedy}")
    raise BadItemError(_what_text(data[:1024]))


def check_head(head: bytes, size: int, suffix: str = "", max_pixels: int = MAX_PIXELS) -> None:
    """Refuse a file by its first bytes and size, before the rest is read.

    Args:
        head: At least the first kilobyte, or the whole file.
        size: Bytes of the whole file.
        suffix: As for :func:`identify`.
        max_pixels: Maximum width x height.

    Raises:
        BadItemError: As :func:`identify`, or the file has more bytes than ``max_pixels`` pixels need.
    """
    kind = identify(head, suffix)
    cap = max(_LEAST_CAP, _BYTES_A_PIXEL.get(kind, 4) * max_pixels)
    if size > cap:
        raise BadItemError(f"{kind} of {size} bytes; images of at most {max_pixels} pixels need no more than {cap}")


def suffix_fits(name: str, suffix: str) -> bool:
    """Return whether a file's suffix belongs to the format of its content.

    A missing suffix fits every format.
    """
    return not suffix or suffix in _SUFFIXES_OF[name]


def _allowed(data: bytes) -> str | None:
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return "TIFF"
    if data[:2] == b"BM" and len(data) >= 18 and int.from_bytes(data[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    return "PPM" if _PPM_MAGIC.match(data) else None


def _iso_brand(data: bytes) -> str | None:
    """Return AVIF or HEIC by the file type box; compatible brands decide if the major brand is neutral."""
    if data[4:8] != b"ftyp":
        return None
    size = min(int.from_bytes(data[:4], "big"), 256)
    brands = {data[8:12]} | {data[i : i + 4] for i in range(16, size, 4)}
    if brands & {b"avif", b"avis"}:
        return "AVIF"
    return "HEIC" if brands & _HEIC_BRANDS else None


def _what_text(head: bytes) -> str:
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if start.startswith(b"<svg") or (start.startswith((b"<?xml", b"<!--", b"<!doctype svg")) and b"<svg" in start):
        return "format not allowed: SVG; draw it to PNG first, for example with rsvg-convert or inkscape"
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<body", b"<script")):
        return "not an image: the file is HTML"
    if head.startswith(b"version https://git-lfs"):
        return "not an image: a Git LFS pointer; fetch the file with git lfs pull"
    printable = sum(byte >= 32 or byte in (9, 10, 13) for byte in head)
    return "not an image: the file is text" if printable == len(head) else "not an image: unknown content"


def header_size(name: str, data: bytes) -> tuple[int, int] | None:
    """Read the image size without the parser if that is cheap.

    Returns (width, height), otherwise None.

    Pillow's WebP parser allocates the whole canvas on opening a file, so its size must be checked before.
    """
    if name == "PNG" and len(data) >= 24:
        return struct.unpack(">II", data[16:24])
    if name != "WEBP" or len(data) < 30:
        return None
    kind = data[12:16]
    if kind == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = struct.unpack("<HH", data[26:30])
        return width & 0x3FFF, height & 0x3FFF
    return None


def count_frames(name: str, data: bytes, limit: int = 10_000) -> int:
    """Count the frames of a GIF or pages of a TIFF without decoding.

    Returns at most ``limit``.
    """
    try:
        return max(1, _gif_frames(data, limit) if name == "GIF" else _tiff_pages(data, limit))
    except (IndexError, struct.error):  # truncated or damaged after the first frame, the only one that is read
        return 1


def _gif_frames(data: bytes, limit: int) -> int:
    at = 13 + (3 * 2 ** ((data[10] & 7) + 1) if data[10] & 0x80 else 0)
    frames = 0
    while frames < limit and at < len(data) and data[at] != 0x3B:
        if data[at] == 0x2C:
            frames += 1
            flags = data[at + 9]
            at += 11 + (3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0)
        elif data[at] == 0x21:
            at += 2
        else:
            break
        while at < len(data) and data[at]:
            at += data[at] + 1
        at += 1
    return frames


def _tiff_pages(data: bytes, limit: int) -> int:
    order = "<" if data[:2] == b"II" else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    count_format, offset_format, entry = (order + "Q", order + "Q", 20) if big else (order + "H", order + "I", 12)
    (at,) = struct.unpack_from(offset_format, data, 8 if big else 4)
    seen: set[int] = set()
    while at and at not in seen and len(seen) < limit:
        (entries,) = struct.unpack_from(count_format, data, at)
        seen.add(at)
        (at,) = struct.unpack_from(offset_format, data, at + struct.calcsize(count_format) + entries * entry)
    return len(seen)
