"""Whatever a file holds: pixels with notes, or a reason; never a crash, a guess or half a picture."""

from __future__ import annotations

import contextlib
import io
import struct
import time
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile
from tests.data.pictures import chunk, encode, noise, png

from whywrong.core.errors import BadItemError, InputError
from whywrong.data.decoding import DecodeOptions, decode, decode_mask
from whywrong.data.formats import ALLOWED


def reason(data: bytes, options: DecodeOptions | None = None, name: str = "") -> str:
    with pytest.raises(BadItemError) as caught:
        decode(data, options, name=name)
    return caught.value.reason


def smooth(width: int = 48, height: int = 40) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // width, y * 255 // height, (x + y) * 255 // (width + height)], 2).astype(np.uint8)


LOSSLESS = [("PNG", {}), ("GIF", {}), ("WEBP", {"lossless": True}), ("BMP", {}), ("TIFF", {}), ("PPM", {})]


@pytest.mark.parametrize(("kind", "options"), LOSSLESS)
def test_allowed_formats_give_their_pixels(kind, options):
    colours = np.zeros((4, 6, 3), np.uint8)
    colours[:, 3:] = (255, 0, 51)  # two colours, so that the palette of a GIF holds them exactly
    decoded = decode(encode(colours, kind, **options))
    assert decoded.format == kind
    assert decoded.format in ALLOWED
    np.testing.assert_array_equal(decoded.pixels, colours)
    assert decoded.notes == ()


def test_jpeg_gives_what_pillow_gives():
    data = encode(smooth(), "JPEG", quality=80)
    np.testing.assert_array_equal(decode(data).pixels, np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


def test_an_empty_file_says_so():
    assert reason(b"") == "empty file"


@pytest.mark.parametrize(
    ("data", "what"),
    [(b"hello world\n", "text"), (b"<!DOCTYPE html><html>", "HTML"), (b"\x01\x02\x03\x00\xfe" * 9, "unknown content")],
)
def test_what_is_not_an_image_says_so(data, what):
    assert reason(data, name="a.jpg").startswith("not an image")
    assert what in reason(data)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_cut_file_is_never_decoded(kind):
    data = encode(noise(40, 30), kind)
    for cut in np.linspace(1, len(data) - 1, 20).astype(int):
        text = reason(data[:cut])
        assert any(word in text for word in ("missing", "not an image")), (cut, text)


def test_a_cut_progressive_jpeg_is_never_decoded():
    data = encode(smooth(), "JPEG", progressive=True)
    for cut in np.linspace(30, len(data) - 1, 20).astype(int):
        assert "missing" in reason(data[:cut])


def test_a_cut_file_is_refused_though_somebody_allowed_truncated_images():
    data = encode(smooth(), "JPEG")
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        assert "truncated" in reason(data[: len(data) // 2])
        assert ImageFile.LOAD_TRUNCATED_IMAGES is True
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = False


def _flip(data: bytes, generator: np.random.Generator) -> bytes:
    flipped = bytearray(data)
    for _ in range(int(generator.integers(1, 9))):
        bit = int(generator.integers(0, len(data) * 8))
        flipped[bit // 8] ^= 1 << bit % 8
    return bytes(flipped)


def _fuzz(count: int) -> None:
    samples = [encode(smooth(), kind, **options) for kind, options in [*LOSSLESS, ("JPEG", {})]]
    samples.append(encode(Image.fromarray(smooth()), "TIFF", compression="tiff_lzw"))
    options = DecodeOptions(max_pixels=2**20)
    tracemalloc.start()
    for sample_number, sample in enumerate(samples):
        for seed in range(count):
            data = _flip(sample, np.random.default_rng((sample_number, seed)))
            start = time.perf_counter()
            with contextlib.suppress(BadItemError):
                assert decode(data, options).pixels.dtype == np.uint8
            assert time.perf_counter() - start < 10
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 * 2**20


@pytest.mark.filterwarnings("ignore")
def test_flipped_bits_give_an_image_or_a_reason():
    _fuzz(40)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_flipped_bits_give_an_image_or_a_reason_at_length():
    _fuzz(2000)


def test_a_png_named_jpg_is_decoded_by_content_and_noted():
    pixels = noise(5, 4)
    decoded = decode(encode(pixels), name="photo.JPG")
    np.testing.assert_array_equal(decoded.pixels, pixels)
    assert decoded.notes == ("content is PNG, the name ends in .jpg",)
    assert decode(encode(pixels), name="photo").notes == ()


def test_grey_stays_one_channel():
    pixels = noise(5, 4, channels=1)
    np.testing.assert_array_equal(decode(encode(pixels)).pixels, pixels[:, :, None])


def _hidden(mode: str) -> bytes:
    """Left half opaque 200, right half 50 under alpha 0."""
    grey = np.full((4, 8), 200, np.uint8)
    grey[:, 4:] = 50
    alpha = np.where(np.arange(8) < 4, 255, 0).astype(np.uint8)[None].repeat(4, 0)
    if mode == "P":
        image = Image.fromarray((grey == 50).astype(np.uint8), "L").convert("P")
        image.putpalette([200, 200, 200, 50, 50, 50])
        return encode(image, transparency=1)
    if mode in ("L", "RGB"):
        return encode(Image.fromarray(grey).convert(mode), transparency=50 if mode == "L" else (50, 50, 50))
    image = Image.fromarray(grey).convert("L" if mode == "LA" else "RGB")
    image.putalpha(Image.fromarray(alpha))
    return encode(image)


@pytest.mark.parametrize("mode", ["LA", "RGBA", "P", "L", "RGB"])
@pytest.mark.parametrize("background", [(255, 255, 255), (10, 20, 30)])
def test_transparency_lies_on_the_stated_background(mode, background):
    decoded = decode(_hidden(mode), DecodeOptions(background=background))
    assert decoded.notes == (f"transparency, composited on RGB {background}",)
    assert (decoded.pixels[:, :4] == 200).all()
    assert (decoded.pixels[:, 4:] == np.array(background)).all()


def test_half_transparent_pixels_are_mixed():
    image = Image.new("RGBA", (2, 2), (100, 0, 200, 128))
    expected = [round(100 * 128 / 255 + 255 * 127 / 255), 127, round(200 * 128 / 255 + 127)]
    np.testing.assert_allclose(decode(encode(image)).pixels[0, 0], expected, atol=1)


def test_an_opaque_alpha_channel_changes_nothing():
    pixels = noise(6, 5)
    image = Image.fromarray(pixels)
    image.putalpha(255)
    decoded = decode(encode(image))
    assert decoded.notes == ()
    np.testing.assert_array_equal(decoded.pixels, pixels)


def _cmyk(marker: bool) -> bytes:
    data = encode(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=95)  # pure red ink
    if marker:
        return data
    at = data.index(b"\xff\xee")
    return data[:at] + data[at + 2 + int.from_bytes(data[at + 2 : at + 4], "big") :]


@pytest.mark.parametrize("marker", [True, False])
def test_cmyk_is_converted_and_noted(marker):
    decoded = decode(_cmyk(marker))
    np.testing.assert_allclose(decoded.pixels[8, 8], (255, 0, 0), atol=12)
    assert decoded.notes[0].startswith("CMYK, converted to RGB")
    assert ("no Adobe marker" in decoded.notes[0]) is not marker


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM", "TIFF big-endian"])
def test_sixteen_bits_are_scaled_not_clipped(kind):
    ramp = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    if kind == "TIFF big-endian":
        image = Image.frombytes("I;16B", (256, 256), ramp.astype(">u2").tobytes())
        data = encode(image, "TIFF")
        assert data[:2] == b"MM"
    else:
        data = encode(ramp, kind)
    decoded = decode(data)
    np.testing.assert_array_equal(decoded.pixels[:, :, 0], np.rint(ramp / 257).astype(np.uint8))
    assert len(np.unique(decoded.pixels)) == 256
    assert decoded.notes == ("16 bit, scaled by 1/257",)


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_float_and_32_bit_images_need_a_stated_range(dtype):
    data = encode(Image.fromarray(np.array([[0, 500, 1000, 2000]], dtype)), "TIFF")
    assert "without a stated range" in reason(data)
    decoded = decode(data, DecodeOptions(value_range=(0, 1000)))
    assert decoded.pixels.ravel().tolist() == [0, 128, 255, 255]


def test_float_images_with_nan_are_refused():
    data = encode(Image.fromarray(np.array([[0, np.nan]], np.float32)), "TIFF")
    assert "NaN" in reason(data, DecodeOptions(value_range=(0, 1)))


def _oriented(value: int, kind: str) -> tuple[bytes, np.ndarray]:
    exif = Image.Exif()
    exif[0x0112] = value
    pixels = noise(6, 4)
    return encode(pixels, kind, exif=exif), pixels


# What a viewer does for each value (TIFF 6.0, tag 274), written with numpy.
UPRIGHT = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: a.transpose(1, 0, 2)[:, ::-1],
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: a.transpose(1, 0, 2)[::-1],
}


@pytest.mark.parametrize("value", range(2, 9))
def test_exif_orientation_is_an_option_and_noted(value):
    data, pixels = _oriented(value, "PNG")
    stored = decode(data)
    np.testing.assert_array_equal(stored.pixels, pixels)
    assert stored.notes == (f"EXIF orientation {value}, not applied",)
    turned = decode(data, DecodeOptions(exif="apply"))
    np.testing.assert_array_equal(turned.pixels, UPRIGHT[value](pixels))
    assert turned.notes == (f"EXIF orientation {value}, applied",)


def test_exif_orientation_1_is_nothing_to_note():
    assert decode(_oriented(1, "JPEG")[0]).notes == ()


def test_exif_orientation_of_a_jpeg_is_found():
    assert decode(_oriented(6, "JPEG")[0]).notes == ("EXIF orientation 6, not applied",)


def test_orientation_of_a_tiff_is_noted_as_applied_by_pillow():
    image = Image.fromarray(noise(6, 4))
    decoded = decode(encode(image, "TIFF", tiffinfo={274: 6}))
    assert (decoded.width, decoded.height) == (4, 6)
    assert "applied (Pillow" in decoded.notes[0]


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_an_animation_the_first_frame_is_used(kind):
    frames = [Image.new("RGB", (8, 6), colour) for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    options = {"lossless": True} if kind == "WEBP" else {}
    decoded = decode(encode(frames[0], kind, save_all=True, append_images=frames[1:], **options))
    assert decoded.notes == ("3 frames, only the first is used",)
    assert (decoded.pixels == (255, 0, 0)).all()


def test_a_loop_of_tiff_pages_ends():
    data = bytearray(encode(noise(4, 4), "TIFF"))
    (start,) = struct.unpack_from("<I", data, 4)
    (entries,) = struct.unpack_from("<H", data, start)
    struct.pack_into("<I", data, start + 2 + entries * 12, start)
    assert decode(bytes(data)).width == 4


def test_a_huge_header_is_refused_before_decoding():
    tracemalloc.start()
    text = reason(png(30_000, 30_000, body=zlib.compress(b"\0" * 100)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert text.startswith("too many pixels: 30000 x 30000")
    assert peak < 2**20


@pytest.mark.parametrize("kind", ["VP8X", "VP8L", "VP8 "])
def test_a_huge_webp_canvas_is_refused_before_the_parser_makes_room(kind):
    if kind == "VP8X":
        body = b"\0" * 4 + (16382).to_bytes(3, "little") * 2
    elif kind == "VP8L":
        body = b"\x2f" + (16382 | 16382 << 14).to_bytes(4, "little") + b"\0" * 8
    else:
        body = b"\0\0\0\x9d\x01\x2a" + struct.pack("<HH", 16383, 16383) + b"\0" * 8
    data = b"RIFF" + struct.pack("<I", len(body) + 12) + b"WEBP" + kind.encode() + struct.pack("<I", len(body)) + body
    assert reason(data + b"\0" * 8).startswith("too many pixels: 16383 x 16383")


def test_the_pixel_cap_is_configurable():
    data = encode(np.zeros((20, 30), np.uint8))
    assert "the cap is 599" in reason(data, DecodeOptions(max_pixels=599))
    assert decode(data, DecodeOptions(max_pixels=600)).width == 30


@pytest.mark.slow
def test_an_honest_image_of_100_megapixels_passes_only_a_higher_cap():
    data = encode(Image.new("L", (20_000, 10_000), 7))  # 200 Mpixel, above Pillow's own limit
    before = Image.MAX_IMAGE_PIXELS
    assert reason(data).startswith("too many pixels")
    assert decode(data, DecodeOptions(max_pixels=2 * 10**8)).width == 20_000
    assert before == Image.MAX_IMAGE_PIXELS
    assert reason(encode(Image.new("L", (10_000, 10_000), 7))).startswith("too many pixels")


@pytest.fixture(scope="module")
def bomb() -> bytes:
    """128 MiB of zeros in 128 KiB."""
    return zlib.compress(b"\0" * 2**27, 9)


@pytest.mark.parametrize("kind", [b"zTXt", b"iCCP"])
@pytest.mark.parametrize("place", ["before", "behind"])
def test_a_compressed_bomb_in_a_chunk_stays_small_in_memory(kind, place, bomb):
    good = encode(noise(8, 8))
    at = good.index(b"IDAT") - 4 if place == "before" else good.index(b"IEND") - 4
    data = good[:at] + chunk(kind, b"name\0\0" + bomb) + good[at:]
    tracemalloc.start()
    try:
        text = decode(data).format
    except BadItemError as error:
        text = error.reason
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert text == "decompression bomb in a text or profile chunk of a PNG"
    assert peak < 32 * 2**20


def test_a_jpeg_of_a_thousand_scans_is_refused_or_cheap():
    for side in (40, 2000):
        data = encode(np.zeros((side, side, 3), np.uint8), "JPEG", progressive=True, quality=1)
        at = data.rindex(b"\xff\xda")
        data = data[:at] + data[at:-2] * 1000 + data[-2:]
        start = time.perf_counter()
        if side == 2000:
            assert "scans" in reason(data)
        else:
            decode(data)
        assert time.perf_counter() - start < 5


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "EPS"),
        (b"8BPS\0\1" + b"\0" * 40, "PSD"),
        (b"SIMPLE  =                    T" + b" " * 2850, "FITS"),
        (b"icns\0\0\0\x20" + b"\0" * 24, "ICNS"),
        (b"\0\0\1\0\1\0" + b"\0" * 30, "ICO"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"%PDF-1.7\n", "PDF"),
        (b"II*\0\x10\0\0\0CR\2\0" + b"\0" * 40, "camera raw"),
    ],
)
def test_formats_outside_the_list_are_named_and_no_parser_sees_them(data, name, monkeypatch):
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("a parser was asked"))
    assert f"format not allowed: {name}" in reason(data, name="picture.png")


@pytest.mark.parametrize(
    ("data", "name", "remedy"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC", "heif-convert"),
        (b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf", "AVIF", "avifdec"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif", "AVIF", "avifdec"),
        (b'\xef\xbb\xbf<?xml version="1.0"?>\n<svg xmlns="x"/>', "SVG", "rsvg-convert"),
    ],
)
def test_heic_avif_and_svg_say_what_to_do(data, name, remedy):
    text = reason(data, name="picture.jpg")
    assert name in text
    assert remedy in text


def _profiled() -> bytes:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return encode(noise(6, 5), icc_profile=profile)


def test_a_colour_profile_is_noted_and_converted_only_if_asked():
    decoded = decode(_profiled())
    assert decoded.notes == ("colour profile, not applied",)
    converted = decode(_profiled(), DecodeOptions(icc="convert"))
    assert converted.notes == ("colour profile, converted to sRGB",)
    np.testing.assert_allclose(converted.pixels.astype(int), decoded.pixels, atol=2)


def test_a_broken_profile_is_a_reason_only_if_conversion_was_asked():
    data = encode(noise(6, 5), icc_profile=b"nonsense")
    assert decode(data).notes == ("colour profile, not applied",)
    assert "profile cannot be applied" in reason(data, DecodeOptions(icc="convert"))


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1)])
def test_the_smallest_images_decode(size):
    assert decode(encode(noise(*size))).pixels.shape == (size[1], size[0], 3)


@pytest.mark.parametrize(
    "options",
    [{"max_pixels": 0}, {"exif": "rotate"}, {"icc": "x"}, {"background": (0, 0, 300)}, {"value_range": (1.0, 1.0)}],
)
def test_wrong_options_are_refused(options):
    with pytest.raises(InputError):
        DecodeOptions(**options)


def test_a_mask_is_every_pixel_that_is_not_zero():
    grey = np.zeros((4, 6), np.uint8)
    grey[1:3, 2:5] = 1
    expected = grey.astype(bool)
    np.testing.assert_array_equal(decode_mask(encode(grey), (6, 4)), expected)
    np.testing.assert_array_equal(decode_mask(encode(np.stack([grey * 0, grey * 9, grey * 0], 2)), (6, 4)), expected)
    with pytest.raises(BadItemError, match="mask is 6 x 4, the image 8 x 8"):
        decode_mask(encode(grey), (8, 8))
