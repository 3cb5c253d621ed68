"""Photos, videos and calibrations, good and bad, for tests of the command line."""

import struct
from pathlib import Path

import cv2
import numpy as np


def write_photo(path, size=(64, 48)):
    y, x = np.mgrid[: size[1], : size[0]]
    cv2.imwrite(str(path), np.stack([2 * x, 3 * y, x + y], axis=2).astype(np.uint8))
    return path


def with_exif(jpeg, main=None, exif=None, order=">", formats=()):
    """A JPEG with an EXIF segment behind its start marker.

    :param main: numbers of the main directory by tag; ``exif``: of the EXIF directory.
    :param order: ">" or "<", the byte order.
    :param formats: tags whose numbers are LONG, not SHORT.
    """
    main, exif = dict(main or {}), exif or {}
    if exif:
        main[0x8769] = 8 + 2 + 12 * (len(main) + 1) + 4  # the EXIF directory comes right behind

    def directory(numbers):
        entries = b""
        for tag, number in sorted(numbers.items()):
            long = tag == 0x8769 or tag in formats
            value = struct.pack(order + ("I" if long else "H"), number).ljust(4, b"\0")
            entries += struct.pack(f"{order}HHI", tag, 4 if long else 3, 1) + value
        return struct.pack(f"{order}H", len(numbers)) + entries + bytes(4)

    tiff = (b"MM\0\x2a" if order == ">" else b"II\x2a\0") + struct.pack(f"{order}I", 8) + directory(main)
    body = b"Exif\0\0" + tiff + (directory(exif) if exif else b"")
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]


def write_video(path, frames=40, codec="MJPG", fps=10.0):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), fps, (64, 48))
    assert writer.isOpened()
    noise = np.random.default_rng(0).integers(0, 255, (48, 64, 3)).astype(np.uint8)
    for index in range(frames):
        writer.write(np.roll(noise, 2 * index, axis=1))
    writer.release()
    return path


def camera_yaml(path, matrix=(500, 0, 32, 0, 500, 24, 0, 0, 1), size=(64, 48)):
    path.write_text(
        f"image_width: {size[0]}\nimage_height: {size[1]}\ncamera_name: test\n"
        f"camera_matrix: {{rows: 3, cols: 3, data: {list(matrix)}}}\n"
        "distortion_model: plumb_bob\n"
        "distortion_coefficients: {rows: 1, cols: 5, data: [0.01, 0.0, 0.0, 0.0, 0.0]}\n"
    )
    return path


def fill(tmp_path):
    """A working directory with good and bad files, and an empty folder `results` to write into."""
    good, bad = tmp_path / "good", tmp_path / "bad"
    for path in (good, bad, tmp_path / "results", good / "photos", bad / "photos", bad / "empty"):
        path.mkdir()
    jpeg = write_photo(good / "photo.jpg").read_bytes()
    png = write_photo(good / "photo.png").read_bytes()
    video = write_video(good / "video.avi").read_bytes()
    for name in ("2.png", "10.png"):
        write_photo(good / "photos" / name)
    write_photo(bad / "photos" / "1.png")
    (bad / "photos" / "2.png").write_bytes(b"not a photo")
    (bad / "hopeless").mkdir()
    (bad / "hopeless" / "1.png").write_bytes(b"not a photo")
    (bad / "empty.jpg").write_bytes(b"")
    cv2.imwrite(str(bad / "thread.png"), np.zeros((5000, 3, 3), np.uint8))
    (bad / "half.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    (bad / "half.png").write_bytes(png[: len(png) // 2])
    (bad / "half.avi").write_bytes(video[: len(video) // 2])
    (bad / "text.jpg").write_text("not a photo")
    (bad / "text.txt").write_text("neither photo nor video\n" * 50)
    (bad / "zeros.mp4").write_bytes(bytes(4000))
    camera_yaml(good / "camera.yaml")
    camera_yaml(bad / "zeros.yaml", matrix=[0] * 9)
    camera_yaml(bad / "nan.yaml", matrix=[".nan", 0, 32, 0, 500, 24, 0, 0, 1])
    camera_yaml(bad / "negative.yaml", matrix=[-500, 0, 32, 0, 500, 24, 0, 0, 1])
    camera_yaml(bad / "other_size.yaml", size=(640, 480))
    (bad / "broken.yaml").write_text("image_width: [64\n")
    (bad / "weights.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
    return tmp_path


def tree(path):
    return sorted(str(entry.relative_to(path)) for entry in Path(path).rglob("*"))
