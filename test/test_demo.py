"""The demo: known motion, children that never stay, the table, and what it says when nothing works."""

import io
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from trg_ros.demo import __main__ as demo
from trg_ros.demo.motion import PoseSample, compare_with_known_motion
from trg_ros.demo.processes import Child, prepare_environment, share_folder

REPOSITORY = Path(__file__).parents[1]


def turned_samples(count=20, noise_deg=0.0):
    """Samples of a head that stands still, seen by a camera that turns; and the truth."""
    rng = np.random.default_rng(0)
    rotation_photo = cv2.Rodrigues(np.array([0.1, 2.0, -0.3]))[0]
    position_photo = np.array([0.05, -0.1, 1.2])
    samples, truth = [], {}
    for index in range(count):
        photo_R_camera = cv2.Rodrigues(np.deg2rad([0.0, index, 2.0 * index]))[0]
        error = cv2.Rodrigues(np.deg2rad(noise_deg) * rng.choice([-1.0, 1.0]) * np.array([1.0, 0.0, 0.0]))[0]
        truth[index] = photo_R_camera
        samples.append(
            PoseSample(
                stamp_ns=index,
                position=photo_R_camera.T @ position_photo,
                rotation=photo_R_camera.T @ error @ rotation_photo,
            )
        )
    return samples, truth


def test_a_perfect_estimate_of_a_turning_camera_has_no_error():
    errors = compare_with_known_motion(*turned_samples())
    assert errors is not None and errors.views == 20
    assert errors.largest_turn_deg == pytest.approx(19 * np.sqrt(5))
    assert errors.rotation_max_deg == pytest.approx(0.0, abs=1e-6)
    assert errors.position_median == pytest.approx(0.0, abs=1e-9)
    assert errors.distance_spread == pytest.approx(0.0, abs=1e-9)


def test_errors_are_measured_against_the_first_view():
    samples, truth = turned_samples(noise_deg=3.0)
    errors = compare_with_known_motion(samples, truth)
    assert errors is not None and errors.rotation_max_deg == pytest.approx(6.0)
    samples, truth = turned_samples()
    farther = [samples[0], *(replace(sample, position=1.1 * sample.position) for sample in samples[1:])]
    errors = compare_with_known_motion(farther, truth)
    assert errors is not None and errors.position_median == pytest.approx(0.1)
    assert errors.distance_spread > 0.01


def test_another_head_does_not_count():
    samples, truth = turned_samples()
    stranger = PoseSample(0, np.array([1.0, 0.0, 1.0]), np.eye(3))
    errors = compare_with_known_motion([*samples, stranger], truth)
    assert errors is not None and errors.views == 20


def test_nothing_to_compare():
    samples, truth = turned_samples()
    assert compare_with_known_motion([], truth) is None
    assert compare_with_known_motion(samples, {}) is None
    assert compare_with_known_motion(samples[:1], truth) is None


@pytest.fixture
def module_path(tmp_path, monkeypatch):
    """A folder whose modules a Child finds."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


def wait_for(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def is_running(process_id):
    try:
        state = Path(f"/proc/{process_id}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_a_child_that_ends_politely_keeps_its_status(module_path):
    (module_path / "polite.py").write_text(
        "import signal, sys, time\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # shells switch it off in the background\n"
        "print('up', flush=True)\n"
        "try:\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    sys.exit(3)\n"
    )
    with Child("polite", "polite", [], module_path) as child:
        wait_for(lambda: "up" in child.last_lines())
        assert child.exit_status is None
        assert child.stop() == 3


def test_stubborn_children_and_their_children_are_ended_too(module_path, monkeypatch):
    monkeypatch.setattr("trg_ros.demo.processes._PATIENCE_S", ((15, 0.3), (9, 0.3)))
    (module_path / "stubborn.py").write_text(
        "import signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "grandchild = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print(grandchild.pid, flush=True)\ntime.sleep(60)\n"
    )
    with Child("stubborn", "stubborn", [], module_path) as child:
        wait_for(lambda: child.last_lines().strip().isdecimal())
        grandchild = int(child.last_lines())
        assert is_running(grandchild)
    assert child.exit_status == -9
    wait_for(lambda: not is_running(grandchild))


@pytest.mark.parametrize(("distribution", "fast_dds"), [("jazzy", "FASTRTPS"), ("kilted", "FASTDDS")])
def test_the_environment_is_ours_only_where_the_user_has_none(distribution, fast_dds, tmp_path, monkeypatch):
    monkeypatch.setenv("ROS_DISTRO", distribution)
    profiles = f"{fast_dds}_DEFAULT_PROFILES_FILE"
    for name in ("ROS_LOG_DIR", profiles, "OMP_WAIT_POLICY", "MALLOC_TOP_PAD_"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv(name, "to be restored")
        monkeypatch.delenv(name)
    for name in (
        "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "ROS_AUTOMATIC_DISCOVERY_RANGE",
    ):  # fmt: skip
        monkeypatch.setenv(name, os.environ.get(name, "0"))
    monkeypatch.setenv("ROS_DOMAIN_ID", "77")
    prepare_environment(tmp_path)
    assert os.environ["ROS_DOMAIN_ID"] == "77"
    assert Path(os.environ[profiles]).is_file()
    assert (share_folder() / "msg" / "HeadPoseArray.msg").is_file()


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_the_table_is_redrawn_on_a_terminal_only(monkeypatch):
    pytest.importorskip("trg_ros.msg", reason="the messages are not built")
    from trg_ros.demo import table
    from trg_ros.demo.client import Row, Status

    monkeypatch.setattr(table, "_REDRAW_S", 0.0)
    monkeypatch.setattr(table, "_LINE_S", 0.0)
    row = Row(3, (0.1, -0.2, 0.75), (10.0, -5.0, 2.5))
    status = Status((row,), 5, 9.5, 42.0, "weights", False)
    terminal, file = Terminal(), io.StringIO()
    for stream in (terminal, file):
        live = table.LiveTable(stream)
        live.update(status)
        live.update(replace(status, rows=()))
    assert "\x1b[2F" in terminal.getvalue() and "\x1b" not in file.getvalue()
    lines = file.getvalue().splitlines()
    assert len(lines) == 3 and "no face" in lines[2]
    assert lines[1].split() == ["3", "0.100", "-0.200", "0.750", "10.0", "-5.0", "2.5", "9.5", "42", "ms"]


def test_bag_holds_raw_messages_that_rosbags_reads_back(tmp_path):
    pytest.importorskip("rosbags")
    messages = pytest.importorskip("trg_ros.msg", reason="the messages are not built")
    from rclpy.serialization import serialize_message
    from rosbags.rosbag2 import Reader

    from trg_ros.demo.bag import Bag, typestore_with

    head = messages.HeadPose(id=5, score=0.5)
    head.pose.pose.position.z = 0.75
    array = messages.HeadPoseArray(checkpoint="weights", heads=[head])
    for _ in range(2):  # the second replaces the first
        with Bag(tmp_path / "bag", share_folder() / "msg") as bag:
            bag.write("/headpose/faces", "trg_ros/msg/HeadPoseArray", 123, serialize_message(array))
    typestore = typestore_with(share_folder() / "msg")
    with Reader(tmp_path / "bag") as reader:
        ((connection, stamp, data),) = reader.messages()
        read = typestore.deserialize_cdr(data, connection.msgtype)
    assert (connection.topic, stamp, read.checkpoint) == ("/headpose/faces", 123, "weights")
    assert read.heads[0].id == 5 and read.heads[0].pose.pose.position.z == 0.75


def run_demo(folder, *options):
    environment = {name: value for name, value in os.environ.items() if name != "ROS_LOG_DIR"}
    return subprocess.run(
        [sys.executable, "-m", "trg_ros.demo", "--out", str(folder / "out"), *options],
        cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=110,
    )  # fmt: skip


def test_a_node_that_cannot_work_is_a_clear_failure(tmp_path):
    """Who said what, status 1, no traceback, no picture."""
    pytest.importorskip("trg_ros.msg", reason="the messages are not built")
    pytest.importorskip("skimage", reason="the demo's photo comes with scikit-image")
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(b"not a checkpoint")
    done = run_demo(tmp_path, "--checkpoint", str(bad))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "headpose said" in done.stderr and "bad.safetensors" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out" / "overlay.png").exists()


def test_a_photo_that_is_none_is_one_line(tmp_path):
    pytest.importorskip("rclpy", reason="needs ROS")
    (tmp_path / "photo.jpg").write_text("not a photo")
    done = run_demo(tmp_path, "--photo", str(tmp_path / "photo.jpg"))
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1 and "photo.jpg" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rate", "nan"], "nan must be a finite number above 0"),
        (["--photo", "missing.jpg"], "can't read 'missing.jpg'"),
        (["--photo", "photo.png", "--out", "photo.png"], "can't write 'photo.png'"),
    ],
)
def test_what_cannot_be_meant_is_told_before_anything_starts(
    arguments, message, tmp_path, monkeypatch, capsys
):
    pytest.importorskip("rclpy", reason="needs ROS")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    cv2.imwrite("photo.png", np.zeros((48, 64, 3), np.uint8))
    try:
        status = demo.main(arguments)
    except SystemExit as leaving:  # argparse
        status = leaving.code
    assert status in (1, 2) and message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]


def test_without_ros_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setitem(sys.modules, "rclpy", None)
    assert demo.main(["--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "has no ROS 2" in error
    assert not (tmp_path / "out").exists()
