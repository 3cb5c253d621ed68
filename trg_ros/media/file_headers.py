"""What a JPEG or PNG says of itself, read without decoding: its size, its segments, whether its end is there.

A few bytes can ask a decoder for gigabytes, and decoders make up what is missing of a file that was cut.
"""

from __future__ import annotations

from collections.abc import Iterator

JPEG_SIGNATURE = b"\xff\xd8\xff"
APP1 = 0xE1
"""The JPEG segment that EXIF data are in."""
_JPEG_END = b"\xff\xd9"
_PNG_SIGNATURE, _PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"
_START_OF_SCAN, _FILL = 0xDA, 0xFF
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH = frozenset(range(0xD0, 0xD9)) | {0x01}


def size_in_header(data: bytes) -> tuple[int, int] | None:
    """Width and height in px that a PNG or JPEG claims; None for other formats, or where it says nothing."""
    if data.startswith(_PNG_SIGNATURE) and len(data) >= 24:
        return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    if data.startswith(JPEG_SIGNATURE):
        for marker, begin, _ in jpeg_segments(data):
            if marker in _START_OF_FRAME and len(data) >= begin + 5:
                height = int.from_bytes(data[begin + 1 : begin + 3], "big")
                return int.from_bytes(data[begin + 3 : begin + 5], "big"), height
    return None


def is_truncated(data: bytes) -> bool:
    """Whether a PNG or JPEG has lost its end; whatever is padded behind it."""
    if data.startswith(_PNG_SIGNATURE):
        return _PNG_END not in data
    if data.startswith(JPEG_SIGNATURE):
        # A thumbnail in the header has an end of its own: search behind the start of the main image's scan.
        scans = (begin for marker, begin, _ in jpeg_segments(data) if marker == _START_OF_SCAN)
        return data.find(_JPEG_END, next(scans, len(data))) < 0
    return False


def jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, begin and end of each segment's content up to the start of the scan (ITU-T T.81, annex B).

    :param data: a JPEG from its first byte; a damaged or short one just ends early.
    """
    offset = 2
    while offset + 4 <= len(data) and data[offset] == 0xFF:
        marker = data[offset + 1]
        if marker == _FILL or marker in _WITHOUT_LENGTH:
            offset += 1 if marker == _FILL else 2
            continue
        end = offset + 2 + int.from_bytes(data[offset + 2 : offset + 4], "big")
        yield marker, offset + 4, end
        if marker == _START_OF_SCAN:
            return
        offset = end
