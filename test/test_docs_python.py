"""The code of docs/python.md does what the page says, with a network that sees green discs."""

import csv
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from cli_files import with_exif
from discs import DiscBackend, DiscDetector, checkpoint, draw

from trg_ros import CameraModel, HeadPoseEstimator

PAGE = Path(__file__).parents[1] / "docs" / "python.md"
CAMERA = CameraModel.from_fov(60, 640, 480)
CENTERS = np.array([[-0.02, -0.02, 0.7]])
FISHEYE = """
image_width: 640
image_height: 480
camera_matrix: {rows: 3, cols: 3, data: [300, 0, 319, 0, 300, 239, 0, 0, 1]}
distortion_model: fisheye
distortion_coefficients: {rows: 1, cols: 4, data: [0.05, -0.01, 0.0, 0.0]}
"""


@pytest.fixture
def ready(tmp_path, monkeypatch):
    """The files that the page names, in the working directory; a network without weights."""
    monkeypatch.chdir(tmp_path)
    image = draw(CAMERA, CENTERS)
    cv2.imwrite("people.jpg", image)
    Path("photos").mkdir()
    jpeg = Path("people.jpg").read_bytes()
    Path("photos/phone.jpg").write_bytes(with_exif(jpeg, exif={0xA405: 28}))
    Path("photos/web.jpg").write_bytes(jpeg)
    Path("photos/damaged.jpg").write_bytes(jpeg[:99])
    Path("fisheye.yaml").write_text(FISHEYE)
    video = cv2.VideoWriter("people.mp4", cv2.VideoWriter.fourcc(*"mp4v"), 10.0, (640, 480))
    for _ in range(3):
        video.write(image)
    video.release()

    def load(detector=None):
        return HeadPoseEstimator(checkpoint(), DiscBackend(), detector or DiscDetector())

    monkeypatch.setattr(HeadPoseEstimator, "load", load)


def test_every_block_runs(ready, capsys):
    names = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(compile(block, str(PAGE), "exec"), names)
    printed = capsys.readouterr().out
    assert "HeadPose(x=" in printed
    assert "phone.jpg exif [HeadPose" in printed and "web.jpg assumed [HeadPose" in printed
    assert "damaged.jpg' is truncated" in printed
    estimator = names["estimator"]
    assert repr(estimator) == "HeadPoseEstimator(discs 1, discs on cpu)"
    (head,) = names["heads"]
    assert np.linalg.norm(head.translation - CENTERS[0]) < 0.02
    (person,) = names["people"]
    assert person.id == 1 and np.linalg.norm(person.head.translation - CENTERS[0]) < 0.02
    assert np.any(cv2.imread("overlay.png") != names["frame"].image_bgr)
    assert json.loads(Path("heads.json").read_text())[0]["score"] == pytest.approx(head.score, abs=1e-6)
    title, row = csv.reader(Path("heads.csv").read_text().splitlines())
    assert float(row[title.index("z")]) == pytest.approx(head.position[2])
    lines = Path("head.ply").read_text().splitlines()
    vertices = len(head.landmarks_camera)
    assert f"element vertex {vertices}" in lines and lines[-1] == "3 0 1 2"
    assert len(lines) == lines.index("end_header") + 1 + vertices + 1
    assert len(names["estimator"].estimate(names["image"], names["camera"])) == 1, "the detector of its own"
