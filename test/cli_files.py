"""Photos, videos and calibrations, good and bad, for tests of the command line."""

from pathlib import Path

import cv2
import numpy as np


def write_photo(path, size=(64, 48)):
    y, x = np.mgrid[: size[1], : size[0]]
    cv2.imwrite(str(path), np.stack([2 * x, 3 * y, x + y], axis=2).astype(np.uint8))
    return path


def write_video(path, frames=40, codec="MJPG"):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), 10.0, (64, 48))
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
    (bad / "empty.jpg").write_bytes(b"")
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
