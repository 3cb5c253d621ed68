"""The parts of the node that need no second process: mailbox, worker, parameters, calibration, boxes."""

from __future__ import annotations

import math
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS")
pytest.importorskip("trg_ros.msg", reason="needs the built messages")

import yaml
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticStatus
from hypothesis import given, settings
from hypothesis import strategies as st
from ros_bad_inputs import camera_info
from std_msgs.msg import Header
from trg_ros.msg import FaceBox, FaceBoxArray

from trg_ros.detection import trg_boxes_from_face_boxes
from trg_ros.errors import CameraError, InputError
from trg_ros.ros.boxes import BoxPairing, boxes_from_message
from trg_ros.ros.diagnostics import MissingInput, Rates, diagnostic_array, judge
from trg_ros.ros.frame import Frame
from trg_ros.ros.intrinsics import IntrinsicsStore
from trg_ros.ros.log import ThrottledLog
from trg_ros.ros.mailbox import Mailbox
from trg_ros.ros.parameters import Settings
from trg_ros.ros.statistics import Statistics
from trg_ros.ros.video_source import VideoSourceSettings
from trg_ros.ros.worker import Worker

REPOSITORY = Path(__file__).resolve().parents[1]


# Mailbox and worker


def test_the_newest_item_wins_and_the_older_are_counted() -> None:
    mailbox = Mailbox[int]()
    for item in range(5):
        mailbox.put(item)
    assert mailbox.take(0.0) == 4
    assert mailbox.take(0.0) is None
    assert (mailbox.received, mailbox.dropped) == (5, 4)


def test_closing_wakes_the_consumer_and_refuses_what_comes_later() -> None:
    mailbox = Mailbox[int]()
    taken: list[int | None] = []
    consumer = threading.Thread(target=lambda: taken.append(mailbox.take()))
    consumer.start()
    mailbox.close()
    consumer.join(5.0)
    mailbox.put(1)
    assert taken == [None]
    assert mailbox.take(0.0) is None
    assert (mailbox.received, mailbox.dropped) == (1, 1)


class Recorder:
    """A logger that remembers."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def warning(self, text: str) -> None:
        self.lines.append(("warning", text))

    def error(self, text: str) -> None:
        self.lines.append(("error", text))


def worker_of(
    process: Any, settings: Settings | None = None
) -> tuple[Worker, Mailbox[Frame], Statistics, Recorder]:
    mailbox, statistics, recorder = Mailbox[Frame](), Statistics(), Recorder()
    log = ThrottledLog(recorder)  # type: ignore[arg-type]
    worker = Worker(mailbox, process, lambda: settings or Settings(), statistics, log)
    worker.start()
    return worker, mailbox, statistics, recorder


def wait_until(condition: Any, timeout_s: float = 10.0) -> bool:
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.005)
    return bool(condition())


def test_the_worker_outlives_an_exception_and_reports_it() -> None:
    seen: list[str] = []

    def process(frame: Frame, settings: Settings) -> None:
        seen.append(frame.message)
        if frame.message == "bad":
            raise ZeroDivisionError("by zero")

    worker, mailbox, statistics, recorder = worker_of(process)
    mailbox.put(Frame("bad"))
    assert wait_until(lambda: statistics.get("failed") == 1)
    mailbox.put(Frame("good"))
    assert wait_until(lambda: seen == ["bad", "good"])
    assert worker.stop()
    assert "ZeroDivisionError: by zero" in statistics.last_problem
    assert [kind for kind, _ in recorder.lines] == ["error"]
    assert "Traceback" in recorder.lines[0][1]


def test_max_rate_bounds_the_work_and_takes_the_newest() -> None:
    seen: list[int] = []
    worker, mailbox, _, _ = worker_of(
        lambda frame, settings: seen.append(frame.message), Settings(max_rate=5.0)
    )
    started = time.monotonic()
    for index in range(60):
        mailbox.put(Frame(index))
        time.sleep(0.01)
    elapsed = time.monotonic() - started
    assert worker.stop()
    assert 2 <= len(seen) <= 2 + 5.0 * elapsed
    assert seen[1] > 5, "the second one is what was newest then, not what came next"


def test_stopping_the_worker_does_not_wait_for_the_rate() -> None:
    worker, mailbox, _, _ = worker_of(lambda frame, settings: None, Settings(max_rate=0.01))
    mailbox.put(Frame("once per 100 s"))
    assert wait_until(lambda: mailbox.received == 1)
    started = time.monotonic()
    assert worker.stop()
    assert time.monotonic() - started < 5.0


# Log and statistics


def test_a_complaint_is_made_at_once_and_then_every_five_seconds() -> None:
    now, recorder = [100.0], Recorder()
    log = ThrottledLog(recorder, 5.0, clock=lambda: now[0])  # type: ignore[arg-type]
    for _ in range(120):
        log.warn("image", "no image")
        log.warn("late", "only when it lasts", after_s=1.0)
        now[0] += 0.1
    texts = [text for _, text in recorder.lines]
    assert texts.count("no image") == 3
    assert texts.count("only when it lasts") == 3
    assert texts[0] == "no image"
    log.settled("late")
    now[0] += 10.0
    log.warn("late", "again", after_s=1.0)
    assert recorder.lines[-1][1] != "again"


def test_statistics_count_and_measure() -> None:
    now = [0.0]
    statistics = Statistics(clock=lambda: now[0])
    assert math.isinf(statistics.seconds_without_image)
    assert math.isnan(statistics.processing_quantile(0.5))
    for index in range(100):
        statistics.image_arrived()
        statistics.processed(0.001 * index, None if index % 2 else 0.002 * index, faces=3)
    now[0] = 2.5
    assert statistics.seconds_without_image == 2.5
    assert (statistics.get("received"), statistics.get("processed"), statistics.faces) == (100, 100, 3)
    assert statistics.processing_quantile(0.5) == pytest.approx(0.05)
    assert statistics.processing_quantile(1.0) == pytest.approx(0.099)
    assert statistics.age_quantile(0.5) == pytest.approx(0.1)
    statistics.problem("too dark")
    assert statistics.last_problem == "too dark"
    statistics.processed(0.1, None, 0)
    assert statistics.last_problem == ""


# Parameters


@pytest.mark.parametrize(
    "name,value,complaint",
    [
        ("max_faces", 0, "1 .. 64"),
        ("max_faces", 65, "1 .. 64"),
        ("max_faces", 2.0, "must be of type int"),
        ("max_faces", True, "must be of type int"),
        ("min_score", 1.5, "0 .. 1"),
        ("min_score", math.nan, "0 .. 1"),
        ("min_score", "high", "must be of type double"),
        ("assume_fov_deg", -1, "0 .. 170"),
        ("max_rate", math.inf, "0 .. 1000"),
        ("detector", "mtcnn", "libfacedetection"),
        ("image_transport", "theora", "compressed"),
        ("image_reliability", "RELIABLE", "best_effort"),
        ("device", "gpu", "cuda"),
        ("device", "cuda:", "cuda"),
        ("tf_prefix", "a b", "tf_prefix"),
        ("publish_tf", 1, "must be of type bool"),
        ("checkpoint", None, "must be of type string"),
    ],
)
def test_bad_parameters_are_refused_with_what_is_allowed(name: str, value: Any, complaint: str) -> None:
    with pytest.raises(InputError) as caught:
        Settings(**{name: value})
    assert f"'{name}'" in str(caught.value)
    assert complaint in str(caught.value)


def test_a_whole_number_serves_as_a_double() -> None:
    settings = Settings(assume_fov_deg=60)
    assert settings.assume_fov_deg == 60.0 and isinstance(settings.assume_fov_deg, float)


def test_only_live_parameters_change_while_configured() -> None:
    settings = Settings()
    change = SimpleNamespace(name="max_faces", value=3)
    assert "read when the node is configured" in settings.reason_to_refuse([change], configured=True)
    assert settings.reason_to_refuse([change], configured=False) == ""
    unchanged = SimpleNamespace(name="max_faces", value=settings.max_faces)
    assert settings.reason_to_refuse([unchanged], configured=True) == ""
    assert settings.reason_to_refuse([SimpleNamespace(name="max_rate", value=5)], configured=True) == ""
    assert (
        settings.reason_to_refuse([SimpleNamespace(name="use_sim_time", value=True)], configured=True) == ""
    )
    assert "0 .. 1000" in settings.reason_to_refuse(
        [SimpleNamespace(name="max_rate", value=-5.0)], configured=True
    )


ANY_VALUE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=True, allow_infinity=True),
    st.text(max_size=20),
    st.lists(st.floats(), max_size=3),
)
NAMES = st.sampled_from([*vars(Settings()), "use_sim_time", "nonsense"])


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(NAMES, ANY_VALUE), max_size=8), st.booleans())
def test_no_set_of_parameters_does_harm(pairs: list[tuple[str, Any]], configured: bool) -> None:
    """Any set of values is taken whole or refused with a reason; what was taken lies within its limits."""
    before = Settings()
    changes = [SimpleNamespace(name=name, value=value) for name, value in pairs]
    reason = before.reason_to_refuse(changes, configured=configured)
    if reason:
        assert any(name in reason for name, _ in pairs)
        return
    after = before.replaced({change.name: change.value for change in changes})
    assert Settings(**vars(after)) == after
    fixed = [name for name in vars(after) if not Settings.__dataclass_fields__[name].metadata["live"]]
    assert not configured or all(getattr(after, name) == getattr(before, name) for name in fixed)


def test_the_parameter_file_holds_every_parameter_with_its_default() -> None:
    text = (REPOSITORY / "config" / "headpose.yaml").read_text()
    values = yaml.safe_load(text)["/**"]["ros__parameters"]
    assert Settings(**values) == Settings()
    assert set(values) == set(vars(Settings()))
    assert text.endswith(Settings.yaml()), "write it again: Settings.yaml()"


def test_the_markdown_table_has_a_row_for_every_parameter() -> None:
    for table in (Settings, VideoSourceSettings):
        rows = table.markdown().splitlines()[2:]
        assert [row.split("`")[1] for row in rows] == list(vars(table()))
        assert all(row.count("|") == 7 for row in rows)


# Which camera


def header(stamp_s: int = 1, frame_id: str = "camera") -> Header:
    return Header(stamp=Time(sec=stamp_s), frame_id=frame_id)


def store_with(*messages: Any) -> IntrinsicsStore:
    store = IntrinsicsStore("/cam/camera_info")
    for message in messages:
        message.header.frame_id = message.header.frame_id or "camera"
        store.put(message, now_s=100.0)
    return store


def test_without_camera_info_there_is_no_guess() -> None:
    store = store_with()
    assert not store.received
    with pytest.raises(CameraError, match=r"/cam/camera_info.*assume_fov_deg"):
        store.for_image(header(), 64, 48, Settings(), 100.0)
    intrinsics = store.for_image(header(), 64, 48, Settings(assume_fov_deg=90.0), 100.0)
    assert intrinsics.assumed
    assert intrinsics.camera.fx == pytest.approx(32.0)
    assert "assuming" in intrinsics.warning


def test_k_of_zeros_is_no_calibration() -> None:
    store = store_with(camera_info(k=[0.0] * 9))
    with pytest.raises(CameraError, match=r"/cam/camera_info.*zeros.*cameracalibrator.*assume_fov_deg"):
        store.for_image(header(), 64, 48, Settings(), 100.0)
    assert store.for_image(header(), 64, 48, Settings(assume_fov_deg=60.0), 100.0).assumed


def test_a_good_calibration_wins_over_an_assumption() -> None:
    intrinsics = store_with(camera_info()).for_image(header(), 64, 48, Settings(assume_fov_deg=90.0), 100.0)
    assert not intrinsics.assumed
    assert intrinsics.camera.fx == 60.0
    assert intrinsics.warning == ""


def test_another_size_is_refused_with_both_sizes() -> None:
    with pytest.raises(CameraError, match=r"128 x 96.*64 x 48.*resize"):
        store_with(camera_info()).for_image(header(), 128, 96, Settings(), 100.0)


def test_the_size_is_that_after_roi_and_binning() -> None:
    store = store_with(camera_info(roi=(16, 8, 32, 24), binning_x=2, binning_y=2))
    camera = store.for_image(header(), 16, 12, Settings(), 100.0).camera
    assert (camera.width, camera.height, camera.fx) == (16, 12, 30.0)


def test_another_frame_is_warned_about_and_the_images_is_used() -> None:
    store = store_with(camera_info())
    intrinsics = store.for_image(header(frame_id="other"), 64, 48, Settings(), 100.0)
    assert "'camera'" in intrinsics.warning and "'other'" in intrinsics.warning
    assert store.for_image(header(frame_id=""), 64, 48, Settings(), 100.0).warning == ""


def test_a_calibration_that_changes_is_followed() -> None:
    store = store_with(camera_info())
    assert store.for_image(header(), 64, 48, Settings(), 100.0).camera.fx == 60.0
    zoomed = camera_info(k=[90.0, 0.0, 31.5, 0.0, 90.0, 23.5, 0.0, 0.0, 1.0])
    store.put(zoomed, 101.0)
    assert store.for_image(header(), 64, 48, Settings(), 101.0).camera.fx == 90.0
    store.put(camera_info(k=[0.0] * 9), 102.0)
    with pytest.raises(CameraError):
        store.for_image(header(), 64, 48, Settings(), 102.0)


def test_the_calibration_with_the_images_stamp_is_preferred() -> None:
    messages = []
    for second, focal in ((1, 50.0), (2, 60.0), (3, 70.0)):
        message = camera_info(k=[focal, 0.0, 31.5, 0.0, focal, 23.5, 0.0, 0.0, 1.0])
        message.header.stamp.sec = second
        messages.append(message)
    store = store_with(*messages)
    assert store.for_image(header(2), 64, 48, Settings(), 100.0).camera.fx == 60.0
    assert store.for_image(header(9), 64, 48, Settings(), 100.0).camera.fx == 70.0


def test_a_calibration_can_grow_too_old() -> None:
    store, settings = store_with(camera_info()), Settings(camera_info_timeout=2.0)
    assert store.for_image(header(), 64, 48, settings, 101.9).camera.fx == 60.0
    with pytest.raises(CameraError, match=r"3.0 s old.*camera_info_timeout"):
        store.for_image(header(), 64, 48, settings, 103.0)
    assert store.for_image(header(), 64, 48, Settings(), 1e6).camera.fx == 60.0


# Boxes from another node


def face_boxes(*rows: tuple[float, float, float, float, float]) -> FaceBoxArray:
    boxes = [FaceBox(left=a, top=b, right=c, bottom=d, score=e) for a, b, c, d, e in rows]
    return FaceBoxArray(header=header(), boxes=boxes)


def test_face_boxes_are_read() -> None:
    boxes, scores = boxes_from_message(face_boxes((1.0, 2.0, 11.0, 14.0, 0.75), (-5.0, -5.0, 5.0, 5.0, 1.0)))
    tight = [[1, 2, 11, 14], [-5, -5, 5, 5]]
    np.testing.assert_allclose(boxes, trg_boxes_from_face_boxes(tight))
    np.testing.assert_array_equal(scores, [0.75, 1.0])
    assert boxes_from_message(face_boxes())[0].shape == (0, 4)


@pytest.mark.parametrize("nested", [True, False], ids=["Humble and later", "Foxy"])
def test_vision_msgs_detections_are_read(nested: bool) -> None:
    centre = SimpleNamespace(x=20.0, y=30.0)
    bbox = SimpleNamespace(
        center=SimpleNamespace(position=centre) if nested else centre, size_x=10.0, size_y=8.0
    )
    result = SimpleNamespace(hypothesis=SimpleNamespace(score=0.5))
    message = SimpleNamespace(
        detections=[SimpleNamespace(bbox=bbox, results=[result]), SimpleNamespace(bbox=bbox, results=[])]
    )
    boxes, scores = boxes_from_message(message)
    np.testing.assert_allclose(boxes, trg_boxes_from_face_boxes([[15, 26, 25, 34]] * 2))
    np.testing.assert_array_equal(scores, [0.5, 1.0])


@pytest.mark.parametrize(
    "row",
    [
        (10.0, 0.0, 5.0, 5.0, 1.0),
        (0.0, 0.0, 0.0, 5.0, 1.0),
        (math.nan, 0.0, 5.0, 5.0, 1.0),
        (0.0, 0.0, math.inf, 5.0, 1.0),
        (0.0, 0.0, 5.0, 5.0, math.nan),
    ],
)
def test_impossible_boxes_are_refused(row: tuple[float, float, float, float, float]) -> None:
    with pytest.raises(InputError, match="detections have a box"):
        boxes_from_message(face_boxes((0.0, 0.0, 5.0, 5.0, 1.0), row))


def test_images_and_boxes_meet_by_their_stamps() -> None:
    pairing = BoxPairing(depth=3)
    images = [SimpleNamespace(header=header(second)) for second in range(10)]
    boxes = [SimpleNamespace(header=header(second)) for second in range(10)]
    assert pairing.add_image(images[1]) is None
    assert pairing.add_boxes(boxes[1]) == (images[1], boxes[1])
    assert pairing.add_boxes(boxes[2]) is None
    assert pairing.add_image(images[2]) == (images[2], boxes[2])
    for image in images[3:8]:
        pairing.add_image(image)
    assert pairing.add_boxes(boxes[3]) is None, "forgotten"
    assert pairing.add_boxes(boxes[6]) == (images[6], boxes[6])


# Diagnostics


def test_diagnostics_say_what_is_missing_first() -> None:
    missing = [
        MissingInput("image", "no image: do this"),
        MissingInput("camera_info", "no camera_info: do that"),
    ]
    assert judge(missing, "too dark", True) == (
        DiagnosticStatus.WARN,
        "no image: do this; no camera_info: do that",
    )
    assert judge([], "too dark", True) == (DiagnosticStatus.WARN, "too dark")
    assert judge([], "", True) == (DiagnosticStatus.OK, "running")
    assert judge([], "", False)[1].startswith("idle")


def test_a_diagnostic_status_carries_its_numbers_in_order() -> None:
    values = {"rate": 12.34567, "faces": 2, "nothing yet": math.nan, "device": "cpu"}
    array = diagnostic_array(Time(sec=4), "/headpose", DiagnosticStatus.OK, "running", "cpu", values)
    assert array.header.stamp.sec == 4
    assert [(pair.key, pair.value) for pair in array.status[0].values] == [
        ("rate", "12.346"),
        ("faces", "2"),
        ("nothing yet", ""),
        ("device", "cpu"),
    ]


def test_rates_are_per_second_since_the_last_look() -> None:
    rates = Rates()
    assert rates.update(10.0, 5, 3) == (0.0, 0.0)
    assert rates.update(12.0, 65, 43) == (30.0, 20.0)
