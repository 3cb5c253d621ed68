"""The size a PNG or JPEG claims, read without decoding: a few bytes can ask a decoder for gigabytes."""

from __future__ import annotations

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8"
_END_OF_IMAGE = b"\xff\xd9"
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH = frozenset(range(0xD0, 0xD9)) | {0x01}


def size_in_header(data: bytes) -> tuple[int, int] | None:
    """(width, height) in px from the first bytes of a file; None for other formats or no header in reach."""
    if data.startswith(_PNG) and len(data) >= 24:
        return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    if data.startswith(_JPEG):
        return _jpeg_size(data)
    return None


def is_cut_jpeg(data: bytes | bytearray | memoryview) -> bool:
    """Whether a JPEG lacks its end marker; drivers may pad with zeros or a few bytes behind it."""
    view = memoryview(data).cast("B")
    if bytes(view[:2]) != _JPEG:
        return False
    end = len(view)
    while end and not any(view[max(end - 4096, 0) : end]):
        end = max(end - 4096, 0)
    return _END_OF_IMAGE not in bytes(view[max(end - 8192, 0) : end])


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Walk the markers to the start of frame (ITU T.81, B.2.2)."""
    position = 2
    while position + 9 <= len(data):
        if data[position] != 0xFF:
            return None
        marker = data[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        if marker in _WITHOUT_LENGTH:
            position += 2
            continue
        if marker in _START_OF_FRAME:
            height = int.from_bytes(data[position + 5 : position + 7], "big")
            return int.from_bytes(data[position + 7 : position + 9], "big"), height
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return None
