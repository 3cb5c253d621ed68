"""`trg-headpose`: bad input gives one line, status 2, nothing half-written; good input what help promises."""

import json
import pkgutil
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from fake_finders import FakeFinder, NoHeads

from trg_ros import cli, commands
from trg_ros.checkpoint import default_checkpoint_path
from trg_ros.commands import run as run_command
from trg_ros.errors import CheckpointError, InputError
from trg_ros.sources import Frame, Source


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


@pytest.fixture
def folder(tmp_path, monkeypatch):
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
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def with_a_head(monkeypatch):
    monkeypatch.setattr(run_command, "HeadFinder", FakeFinder)


@pytest.fixture
def without_heads(monkeypatch):
    monkeypatch.setattr(run_command, "HeadFinder", NoHeads)


def tree(path):
    return sorted(str(entry.relative_to(path)) for entry in Path(path).rglob("*"))


BAD = {
    "no such file": ["run", "good/missing.jpg"],
    "no such folder": ["run", "missing/"],
    "empty file": ["run", "bad/empty.jpg"],
    "truncated JPEG": ["run", "bad/half.jpg"],
    "truncated PNG": ["run", "bad/half.png"],
    "text as a photo": ["run", "bad/text.jpg"],
    "text": ["run", "bad/text.txt"],
    "folder without photos": ["run", "bad/empty"],
    "folder with a bad photo": ["run", "bad/photos"],
    "no such webcam": ["run", "99"],
    "an address": ["run", "rtsp://localhost/x"],
    "empty name": ["run", ""],
    "field of view of 0": ["run", "good/photo.jpg", "--fov", "0"],
    "field of view of 180": ["run", "good/photo.jpg", "--fov", "180"],
    "field of view NaN": ["run", "good/photo.jpg", "--fov", "nan"],
    "field of view of words": ["run", "good/photo.jpg", "--fov", "wide"],
    "both intrinsics": ["run", "good/photo.jpg", "--fov", "60", "--camera", "good/camera.yaml"],
    "no such camera": ["run", "good/photo.jpg", "--camera", "missing.yaml"],
    "K of zeros": ["run", "good/photo.jpg", "--camera", "bad/zeros.yaml"],
    "K with NaN": ["run", "good/photo.jpg", "--camera", "bad/nan.yaml"],
    "negative focal length": ["run", "good/photo.jpg", "--camera", "bad/negative.yaml"],
    "camera of another size": ["run", "good/photo.jpg", "--camera", "bad/other_size.yaml"],
    "broken YAML": ["run", "good/photo.jpg", "--camera", "bad/broken.yaml"],
    "no frames": ["run", "good/video.avi", "--max-frames", "0"],
    "tiny detection": ["run", "good/photo.jpg", "--detection-size", "3"],
    "output is a file": ["run", "good/photo.jpg", "--out", "good/photo.png"],
    "output below a file": ["run", "good/photo.jpg", "--out", "good/photo.png/below"],
    "unknown command": ["fly"],
    "no command": [],
    "no input": ["run"],
    "unknown option": ["run", "good/photo.jpg", "--fast"],
}


@pytest.mark.parametrize("arguments", BAD.values(), ids=BAD)
def test_bad_input_gives_one_line_status_2_and_leaves_nothing(arguments, folder, with_a_head, capfd):
    if arguments and arguments[0] == "run" and "--out" not in arguments:
        arguments = [*arguments, "--out", "results/new"]
    before = tree(folder)
    try:
        status = cli.main(arguments)
    except SystemExit as leaving:  # argparse
        status = leaving.code
    out, err = capfd.readouterr()
    complaints = err.splitlines()
    assert status == 2
    assert out == ""
    assert len(complaints) == 1 and complaints[0].startswith("trg-headpose"), err
    assert "error: " in complaints[0]
    assert tree(folder) == before


NEEDING_THE_NETWORK = {
    "no such checkpoint": ["--checkpoint", "missing.safetensors"],
    "not a checkpoint": ["--checkpoint", "good/photo.jpg"],
    "checkpoint without contents": ["--checkpoint", "bad/weights.safetensors"],
    "checkpoint is a folder": ["--checkpoint", "good"],
    "unknown detector": ["--detector", "eyes"],
    "yunet without a file": ["--detector", "yunet"],
}


@pytest.mark.parametrize("arguments", NEEDING_THE_NETWORK.values(), ids=NEEDING_THE_NETWORK)
def test_bad_network_or_detector(arguments, folder, capfd):
    before = tree(folder)
    assert cli.main(["run", "good/photo.jpg", "--fov", "60", "--out", "results/new", *arguments]) == 2
    out, err = capfd.readouterr()
    assert out == "" and len(err.splitlines()) == 1 and err.startswith("trg-headpose: error: ")
    assert tree(folder) == before


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
    assert capfd.readouterr().err == ""


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


class FakeWebcam(Source):
    kind, name, fps = "webcam", "webcam 0", 10.0

    def __init__(self, ends_with):
        self._ends_with = ends_with

    def __iter__(self):
        for index in range(3):
            yield Frame(np.zeros((48, 64, 3), np.uint8), 0.1 * index, self.name, index)
        raise self._ends_with


@pytest.mark.parametrize(("ending", "status"), [(KeyboardInterrupt(), 0), (InputError("unplugged"), 2)])
def test_what_a_webcam_recorded_is_kept(ending, status, folder, with_a_head, monkeypatch):
    monkeypatch.setattr(run_command, "open_source", lambda spec: FakeWebcam(ending))
    assert cli.main(["run", "0", "--out", "results", "--fov", "60"]) == status
    assert tree("results") == ["heads.jsonl", "overlay.mp4"]
    assert len(Path("results/heads.jsonl").read_text().splitlines()) == 3


def test_ctrl_c_in_a_video_leaves_nothing(folder, monkeypatch, capfd):
    class Interrupted(FakeFinder):
        def heads(self, frame, camera):
            if frame.index == 2:
                raise KeyboardInterrupt
            return super().heads(frame, camera)

    monkeypatch.setattr(run_command, "HeadFinder", Interrupted)
    before = tree(folder)
    assert cli.main(["run", "good/video.avi", "--out", "results/new", "--fov", "60"]) == 130
    assert capfd.readouterr().err == "trg-headpose: interrupted\n"
    assert tree(folder) == before


def start_with(finder, *arguments):
    """`trg-headpose` in a process of its own, with one of the finders above."""
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    script = (
        f"import sys; sys.path[:0] = {paths}\n"
        "import fake_finders\n"
        "from trg_ros import cli\n"
        "from trg_ros.commands import run\n"
        f"run.HeadFinder = fake_finders.{finder}\n"
        f"sys.exit(cli.main({list(arguments)}))\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_a_truncated_video_gives_one_line_and_leaves_nothing(folder):
    before = tree(folder)
    process = start_with("NoHeads", "run", "bad/half.avi", "--out", "results/new", "--fov", "60")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 2 and out == ""
    assert re.fullmatch(r"trg-headpose: error: 'bad/half.avi' is .* after \d+ of 40 frames\n", err)
    assert tree(folder) == before


def test_sigterm_leaves_nothing(folder):
    before = tree(folder)
    process = start_with("SlowFinder", "run", "good/video.avi", "--out", "results/new", "--fov", "60")
    try:
        assert process.stdout is not None and process.stdout.readline() == "working\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 128 + signal.SIGTERM
    finally:
        process.kill()
        process.communicate()
    assert tree(folder) == before


def run_program(*arguments):
    repository = Path(__file__).parents[1]
    return subprocess.run(
        [sys.executable, "-m", "trg_ros", *arguments],
        cwd=repository,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_help_lists_the_commands_and_does_not_import_torch():
    done = run_program("--help")
    assert done.returncode == 0 and done.stderr == ""
    assert all(name in done.stdout for name in ("run", "info", "import-release"))
    modules = "import sys; from trg_ros import cli; cli._parser(['run']); print('torch' in sys.modules)"
    repository = Path(__file__).parents[1]
    checked = subprocess.run(
        [sys.executable, "-c", modules],
        cwd=repository,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert checked.stdout == "False\n"


def test_version_and_module_entry_point():
    done = run_program("--version")
    assert done.returncode == 0 and done.stdout.startswith("trg-headpose ")
    done = run_program("run", "missing.jpg")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "trg-headpose: error: no such file or folder: 'missing.jpg'\n"


def test_ffmpeg_says_nothing_beside_our_line(folder):
    done = run_program("run", str(folder / "bad" / "zeros.mp4"))
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1 and "neither a photo nor a video" in done.stderr


def test_every_command_is_in_the_table():
    modules = {module.name.replace("_", "-") for module in pkgutil.iter_modules(commands.__path__)}
    assert modules <= set(cli._COMMANDS)


def test_every_command_in_the_table_explains_itself(capsys):
    for name in cli._COMMANDS:
        try:
            with pytest.raises(SystemExit) as leaving:
                cli.main([name, "--help"])
        except ModuleNotFoundError:
            continue
        text = capsys.readouterr()
        known = leaving.value.code == 0
        assert known or "invalid choice" in text.err, name


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
