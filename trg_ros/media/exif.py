"""The focal length that a camera or phone has written into its JPEG (Exif 2.32, JEITA CP-3451E)."""

from __future__ import annotations

import struct
from math import hypot

from trg_ros.media.file_headers import APP1, jpeg_segments

_EXIF = b"Exif\0\0"
_BYTE_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
_EXIF_IFD, _PIXEL_X, _PIXEL_Y, _FOCAL_LENGTH_35MM = 0x8769, 0xA002, 0xA003, 0xA405
_FORMATS = {3: "H", 4: "I"}  # of a directory's entries, by type: SHORT and LONG

#: Diagonal of 35 mm film in mm: equivalent focal lengths have the same angle of view across the diagonal.
_FILM_DIAGONAL_MM = hypot(36, 24)
#: A photo whose sides have another ratio than those that the camera wrote down has been cut.
_SAME_RATIO = 0.02


def focal_length_px(data: bytes, width: int, height: int) -> float | None:
    """Focal length in pixels of a JPEG of this size; None if it says nothing, or the photo has been cut.

    It is the one of 35 mm film that has the same angle of view across the diagonal (FocalLengthIn35mmFilm):
    good to some per cent, where lens and photo are as the camera made them.
    """
    try:
        entries = _exif_entries(data)
    except struct.error:  # an offset that leads out of the data
        return None
    focal_mm = entries.get(_FOCAL_LENGTH_35MM, 0)
    if focal_mm <= 0 or _was_cut(entries, width, height):
        return None
    return focal_mm * hypot(width, height) / _FILM_DIAGONAL_MM


def _exif_entries(data: bytes) -> dict[int, int]:
    for marker, begin, end in jpeg_segments(data):
        if marker == APP1 and data.startswith(_EXIF, begin):
            tiff = data[begin + len(_EXIF) : end]
            order = _BYTE_ORDERS.get(tiff[:4])
            if order is None:
                return {}
            main = _directory(tiff, order, struct.unpack_from(f"{order}I", tiff, 4)[0])
            return _directory(tiff, order, main[_EXIF_IFD]) if _EXIF_IFD in main else {}
    return {}


def _directory(tiff: bytes, order: str, offset: int) -> dict[int, int]:
    """An image file directory's single whole numbers, by tag. :raises struct.error: if it isn't there."""
    (count,) = struct.unpack_from(f"{order}H", tiff, offset)
    numbers = {}
    for entry in range(offset + 2, offset + 2 + 12 * count, 12):
        tag, kind, values = struct.unpack_from(f"{order}HHI", tiff, entry)
        if kind in _FORMATS and values == 1:
            (numbers[tag],) = struct.unpack_from(f"{order}{_FORMATS[kind]}", tiff, entry + 8)
    return numbers


def _was_cut(entries: dict[int, int], width: int, height: int) -> bool:
    sides = entries.get(_PIXEL_X, 0), entries.get(_PIXEL_Y, 0)
    if min(sides) <= 0:
        return False
    then, now = max(sides) / min(sides), max(width, height) / min(width, height)
    return abs(now / then - 1) > _SAME_RATIO
