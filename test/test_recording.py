"""Results appear complete or not at all."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from fake_finders import head_pose
from scipy.spatial.transform import Rotation

from trg_ros.camera import CameraModel
from trg_ros.errors import InputError
from trg_ros.geometry import HEAD_R_FACE, make_transform
from trg_ros.media.frames import Frame
from trg_ros.media.recording import (
    OutputFolder,
    OverlayVideo,
    frame_record,
    json_lines,
    overlay_name,
    write_image,
)
from trg_ros.tracking import TrackedHead


def tree(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_nothing_remains_without_commit(tmp_path):
    with pytest.raises(KeyError), OutputFolder(tmp_path / "a" / "b") as output:
        (output.partial / "file").write_text("half")
        raise KeyError
    assert tree(tmp_path) == []


def test_commit_makes_the_folder_with_usual_permissions(tmp_path):
    with OutputFolder(tmp_path / "a" / "b") as output:
        (output.partial / "sub").mkdir()
        (output.partial / "sub" / "file").write_text("whole")
        assert not (tmp_path / "a").exists()
        output.commit()
    assert tree(tmp_path) == ["a", "a/b", "a/b/sub", "a/b/sub/file"]
    assert (tmp_path / "a" / "b").stat().st_mode & 0o500 == 0o500
    (tmp_path / "usual").mkdir()
    assert (tmp_path / "a" / "b").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_a_folder_at_home_is_made_at_home(tmp_path, monkeypatch):
    """Moving it there from the working folder could cross a file system, or need a right to write here."""
    (tmp_path / "home").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "here")
    with OutputFolder(Path("~/out")) as output:
        (output.partial / "file").write_text("x")
        assert not list((tmp_path / "here").iterdir())
        output.commit()
    assert (tmp_path / "home" / "out" / "file").read_text() == "x"


def test_commit_into_an_existing_folder_replaces_and_keeps(tmp_path):
    for name in ("old", "same"):
        (tmp_path / name).write_text("before")
    with OutputFolder(tmp_path) as output:
        (output.partial / "same").write_text("after")
        output.commit()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"old": "before", "same": "after"}


def test_a_file_in_the_way_is_refused(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(InputError, match="is a file"):
        OutputFolder(tmp_path / "out")
    with pytest.raises(InputError, match="is a file"):
        OutputFolder(tmp_path / "out" / "below" / "further")


def test_json_lines_hold_what_json_can(tmp_path):
    with json_lines(tmp_path / "x.jsonl") as write:
        write({"a": [1.5, float("nan")], "b": {"c": float("inf")}})
        write({"a": "ü"})
    lines = (tmp_path / "x.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [{"a": [1.5, None], "b": {"c": None}}, {"a": "ü"}]


def frames_in(path):
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (read := capture.read())[0]:
        frames.append(read[1])
    return frames


@pytest.mark.parametrize("size", [(64, 48), (63, 47)])
def test_overlay_video_keeps_pace_with_the_stamps(tmp_path, size):
    """Two frames at 0.0 s and 0.3 s of a 10 Hz video: the first is shown three times."""
    video = OverlayVideo(tmp_path / "v.mp4", 10.0)
    dark, light = (np.full((size[1], size[0], 3), grey, np.uint8) for grey in (20, 220))
    video.add(dark, 0.0)
    video.add(light, 0.3)
    video.close()
    video.close()
    frames = frames_in(tmp_path / "v.mp4")
    assert [round(float(frame.mean())) // 100 for frame in frames] == [0, 0, 0, 2]
    assert frames[0].shape == (48, 64, 3)


def test_overlay_video_leaves_out_what_comes_too_fast(tmp_path):
    video = OverlayVideo(tmp_path / "v.mp4", 10.0)
    for index in range(30):
        video.add(np.zeros((48, 64, 3), np.uint8), index / 30.0)
    video.close()
    assert len(frames_in(tmp_path / "v.mp4")) == pytest.approx(10, abs=1)


def test_overlay_video_of_changing_size_is_refused(tmp_path):
    video = OverlayVideo(tmp_path / "v.mp4", 10.0)
    video.add(np.zeros((48, 64, 3), np.uint8), 0.0)
    with pytest.raises(InputError, match="64x48 to 32x48"):
        video.add(np.zeros((48, 32, 3), np.uint8), 0.1)
    video.close()


def test_images_that_cannot_be_written_are_refused(tmp_path):
    for name in ("missing_folder/a.png", "a.unknown"):
        with pytest.raises(InputError, match="can't write"):
            write_image(tmp_path / name, np.zeros((4, 4, 3), np.uint8))


def test_a_record_says_the_pose_of_the_face_and_the_angles_of_the_head():
    """Each number in its place and unit: nothing is zero or one here."""
    camera = CameraModel.pinhole(500, 510, 31, 23, 64, 48, [0.1, 0, 0, 0])
    rotation = Rotation.from_euler("yxz", [20, -10, 5], degrees=True).as_matrix()
    camera_T_face = make_transform(rotation @ HEAD_R_FACE, np.array([0.1, -0.2, 0.7]))
    head = head_pose(camera, camera_T_face, [1, 2, 30, 31], 0.6)
    frame = Frame(np.zeros((48, 64, 3), np.uint8), 1.25, "a.png", 3)
    record = frame_record(frame, camera, [TrackedHead(7, 0, head)], "assumed", "weights")
    (said,) = record.pop("heads")
    assert record == {
        "name": "a.png", "index": 3, "stamp_s": 1.25, "image_size": [64, 48],
        "intrinsics_from": "assumed", "intrinsics_assumed": True,
        "intrinsics": {
            "fx": 500.0, "fy": 510.0, "cx": 31.0, "cy": 23.0,
            "distortion_model": "plumb_bob", "distortion": [0.1, 0.0, 0.0, 0.0],
        },
        "checkpoint": "weights",
    }  # fmt: skip
    assert (said["yaw_deg"], said["pitch_deg"], said["roll_deg"]) == pytest.approx((20, -10, 5), abs=1e-3)
    assert said["position_m"] == [0.1, -0.2, 0.7] and said["distance_m"] == pytest.approx(np.sqrt(0.54))
    turned = Rotation.from_quat(said["quaternion_xyzw"]).as_matrix()
    np.testing.assert_allclose(turned, camera_T_face[:3, :3], atol=1e-6)
    assert (said["id"], said["score"]) == (7, 0.6)
    assert said["box"] == pytest.approx([1, 2, 30, 31], abs=0.3), "a square box of oblong pixels"
    np.testing.assert_allclose(said["landmarks68"], camera.project(head.landmarks_camera[:68]), atol=1e-3)


def test_overlay_names():
    assert [overlay_name(name) for name in ("a.JPG", "b.png", "c.pgm", "d")] == [
        "a.JPG", "b.png", "c.pgm.png", "d.png",
    ]  # fmt: skip
