"""`trg-headpose run`: what it writes for photos, folders, videos and webcams, and what it leaves behind."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from cli_files import tree, with_exif, write_photo
from fake_finders import NoHeads

from trg_ros import cli
from trg_ros.backends import BACKENDS
from trg_ros.checkpoint import default_checkpoint_path
from trg_ros.commands import run as run_command
from trg_ros.errors import CheckpointError, InputError
from trg_ros.estimator import HeadPoseEstimator
from trg_ros.media.sources import open_source


@pytest.fixture
def without_heads(monkeypatch):
    monkeypatch.setattr(run_command, "HeadFinder", NoHeads)


def test_photo(folder, with_a_head, capfd):
    assert cli.main(["run", "good/photo.jpg", "--out", "results/a/b"]) == 0
    out, err = capfd.readouterr()
    assert "1 frame, 1 head" in out and "results/a/b" in out
    assert "assumed a focal length of width + height = 112 px" in err
    assert tree("results/a/b") == ["heads.jsonl", "overlay.jpg"]
    assert cv2.imread("results/a/b/overlay.jpg").shape == (48, 64, 3)
    record = json.loads(Path("results/a/b/heads.jsonl").read_text())
    assert (record["name"], record["index"], record["stamp_s"]) == ("photo.jpg", 0, 0.0)
    assert record["image_size"] == [64, 48] and record["intrinsics_assumed"] is True
    assert (record["intrinsics"]["fx"], record["intrinsics"]["cx"]) == (112.0, 31.5)
    assert record["checkpoint"] == "fake"
    (head,) = record["heads"]
    assert head["id"] == 1 and head["position_m"] == [0.01, -0.02, 0.8]
    assert head["distance_m"] == pytest.approx(np.linalg.norm([0.01, -0.02, 0.8]), abs=1e-6)
    assert (head["yaw_deg"], head["pitch_deg"], head["roll_deg"]) == (0.0, 0.0, 0.0)
    # A face that looks into the camera: x (out of the face) is the camera's -z, z (up) its -y.
    x, y, z, w = head["quaternion_xyzw"]
    assert [2 * (x * z + y * w), 2 * (y * z - x * w), 1 - 2 * (x * x + y * y)] == pytest.approx([0, -1, 0])
    assert np.shape(head["landmarks68"]) == (68, 2) and head["score"] == 0.75


@pytest.mark.parametrize(
    ("option", "focal"), [(["--fov", "60"], 32 / np.tan(np.pi / 6)), (["--camera"], 500.0)]
)
def test_known_intrinsics_are_used_and_not_called_assumed(option, focal, folder, with_a_head, capfd):
    option = [*option, "good/camera.yaml"] if option == ["--camera"] else option
    assert cli.main(["run", "good/photo.jpg", "--out", "results", *option]) == 0
    record = json.loads(Path("results/heads.jsonl").read_text())
    assert record["intrinsics"]["fx"] == pytest.approx(focal) and record["intrinsics_assumed"] is False
    assert record["intrinsics"]["distortion_model"] == ("none" if option[0] == "--fov" else "plumb_bob")
    assert record["intrinsics_from"] == option[0].removeprefix("--").replace("camera", "calibration")
    assert capfd.readouterr().err == ""


def test_a_photo_that_knows_its_lens(folder, with_a_head, capfd):
    """28 mm on 35 mm film: 43.27 mm across the diagonal, which is 80 px here."""
    Path("phone.jpg").write_bytes(with_exif(Path("good/photo.jpg").read_bytes(), exif={0xA405: 28}))
    assert cli.main(["run", "phone.jpg", "--out", "results"]) == 0
    (note,) = capfd.readouterr().err.splitlines()
    assert "field of view from EXIF data ('phone.jpg': 63 deg across)" in note
    record = json.loads(Path("results/heads.jsonl").read_text())
    assert record["intrinsics"]["fx"] == pytest.approx(28 * 80 / 43.2666, rel=1e-5)
    assert (record["intrinsics_from"], record["intrinsics_assumed"]) == ("exif", False)
    assert cli.main(["run", "phone.jpg", "--out", "results", "--fov", "60"]) == 0
    assert json.loads(Path("results/heads.jsonl").read_text())["intrinsics_from"] == "fov"


def test_lines_for_a_program(folder, with_a_head, capfd):
    before = tree(folder)
    assert cli.main(["run", "good/video.avi", "--json", "--fov", "60", "--max-frames", "3"]) == 0
    out, err = capfd.readouterr()
    assert [json.loads(line)["index"] for line in out.splitlines()] == [0, 1, 2]
    assert "3 frames, 3 heads" in err
    assert tree(folder) == before


def test_photos_that_cannot_be_used_are_left_out_and_named(folder, with_a_head, capfd):
    write_photo("bad/photos/3.png", (32, 48))
    assert cli.main(["run", "bad/photos", "--out", "results", "--camera", "good/camera.yaml"]) == 1
    out, err = capfd.readouterr()
    assert "1 frame, 1 head" in out
    damaged, other_size = err.splitlines()
    assert damaged.startswith("trg-headpose: left out: 'bad/photos/2.png' is not an image")
    assert other_size.startswith("trg-headpose: left out: ") and "'3.png' has 32x48" in other_size
    assert tree("results") == ["heads.jsonl", "overlay", "overlay/1.png"]


def test_a_photo_that_no_lens_makes_is_left_out_of_a_folder(folder, with_a_head, capfd):
    shutil.copy("bad/thread.png", "good/photos")
    assert cli.main(["run", "good/photos", "--out", "results/new"]) == 1
    assert "left out: 'thread.png': fx is 5003 px" in capfd.readouterr().err
    assert len(Path("results/new/heads.jsonl").read_text().splitlines()) == 2


def test_folder(folder, with_a_head):
    assert cli.main(["run", "good/photos", "--out", "results", "--fov", "60"]) == 0
    assert tree("results") == ["heads.jsonl", "overlay", "overlay/10.png", "overlay/2.png"]
    names = [json.loads(line)["name"] for line in Path("results/heads.jsonl").read_text().splitlines()]
    assert names == ["2.png", "10.png"]


def test_video(folder, with_a_head, capfd):
    assert cli.main(["run", "good/video.avi", "--out", "results", "--fov", "60", "--max-frames", "7"]) == 0
    assert "7 frames, 7 heads" in capfd.readouterr().out
    assert tree("results") == ["heads.jsonl", "overlay.mp4"]
    lines = [json.loads(line) for line in Path("results/heads.jsonl").read_text().splitlines()]
    assert [line["stamp_s"] for line in lines] == pytest.approx([0.1 * index for index in range(7)], abs=2e-3)
    capture = cv2.VideoCapture("results/overlay.mp4")
    assert (capture.get(cv2.CAP_PROP_FRAME_COUNT), capture.get(cv2.CAP_PROP_FPS)) == (7, 10)


def test_no_overlay(folder, with_a_head):
    assert cli.main(["run", "good/video.avi", "--out", "results", "--fov", "60", "--no-overlay"]) == 0
    assert tree("results") == ["heads.jsonl"]


def test_default_output_is_named_after_the_input(folder, with_a_head):
    assert cli.main(["run", "good/photo.png", "--fov", "60"]) == 0
    assert tree("photo_headpose") == ["heads.jsonl", "overlay.png"]


def test_a_photo_without_a_face_is_an_error(folder, without_heads, capfd):
    before = tree(folder)
    assert cli.main(["run", "good/photo.jpg", "--out", "results/new"]) == 2
    assert capfd.readouterr().err == "trg-headpose: error: no face found in 'photo.jpg'\n"
    assert tree(folder) == before


@pytest.mark.parametrize("source", ["good/photos", "good/video.avi"])
def test_a_folder_or_video_without_faces_says_so(source, folder, without_heads, capfd):
    assert cli.main(["run", source, "--out", "results", "--fov", "60"]) == 0
    assert "no face in any of the" in capfd.readouterr().err
    lines = [json.loads(line) for line in Path("results/heads.jsonl").read_text().splitlines()]
    assert lines and all(line["heads"] == [] for line in lines)


def test_results_never_replace_what_they_are_made_from(folder, with_a_head, capfd):
    shutil.copytree("good/photos", "results/overlay")
    shutil.copy("good/photo.jpg", "results/overlay.jpg")
    before = {name: Path("results", name).read_bytes() for name in ("overlay/2.png", "overlay.jpg")}
    for source in ("results/overlay", "results/overlay.jpg"):
        assert cli.main(["run", source, "--out", "results", "--fov", "60"]) == 2
        assert "would overwrite" in capfd.readouterr().err
    assert {name: Path("results", name).read_bytes() for name in before} == before


@pytest.fixture(scope="module")
def packaged_checkpoint():
    try:
        return default_checkpoint_path()
    except CheckpointError as error:
        pytest.skip(f"no packaged weights: {error}")


def test_real_photo_with_the_packaged_weights(folder, astronaut_bgr, packaged_checkpoint, capfd):
    """One head; she looks at the camera, roughly, from a plausible distance for the assumed lens."""
    pytest.importorskip("yuface", reason="the default face detector is not installed")
    cv2.imwrite("astronaut.png", astronaut_bgr)
    assert cli.main(["run", "astronaut.png", "--out", "results"]) == 0, capfd.readouterr().err
    (head,) = json.loads(Path("results/heads.jsonl").read_text())["heads"]
    assert 0.8 < head["distance_m"] < 3.0
    assert abs(head["yaw_deg"]) < 30 and abs(head["pitch_deg"]) < 30 and abs(head["roll_deg"]) < 30
    assert np.abs(np.mean(head["landmarks68"], axis=0) - [225, 120]).max() < 25
    changed = cv2.imread("results/overlay.png").astype(int) - astronaut_bgr
    assert np.abs(changed[60:200, 140:310]).max() > 60 and not changed[300:, :].any()


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        ([], {"device": "auto", "backend": "auto", "threads": None, "pose_source": "trg"}),
        (["--pose-source", "pnp"], {"pose_source": "pnp"}),
        (
            ["--backend", "torch", "--threads", "2", "--device", "cpu"],
            {"backend": "torch", "threads": 2, "device": "cpu"},
        ),
    ],
    ids=["defaults", "pnp", "torch"],
)
def test_the_network_is_loaded_as_the_options_say(options, asked, folder, monkeypatch):
    loaded = {}

    def load(checkpoint, **settings):
        loaded.update(settings)
        raise InputError("enough")

    monkeypatch.setattr(HeadPoseEstimator, "load", load)
    args = cli._parser(["run"]).parse_args(["run", "good/photo.jpg", *options])
    with open_source("good/photo.jpg") as source, pytest.raises(InputError, match="enough"):
        run_command.HeadFinder(args, source)
    assert loaded | asked == loaded


def test_help_names_every_back_end(capsys):
    assert cli.main(["run", "--help"]) == 0
    words = capsys.readouterr().out.replace(",", " ").split()
    assert set(BACKENDS) <= set(words)
