"""Mailbox, worker, log, statistics and diagnostics, without a second process."""

from __future__ import annotations

import math
import threading
import time
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="needs ROS")
pytest.importorskip("trg_ros.msg", reason="needs the built messages")

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticStatus
from ros_harness import Recorder

from trg_ros.ros.diagnostics import (
    MissingInput,
    Rates,
    diagnostic_array,
    judge,
    losses,
    slowness,
)
from trg_ros.ros.frame import Frame
from trg_ros.ros.log import ThrottledLog
from trg_ros.ros.mailbox import Mailbox
from trg_ros.ros.parameters import Settings
from trg_ros.ros.statistics import Statistics, Stopwatch
from trg_ros.ros.worker import Worker


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


@pytest.mark.fault("an exception in the worker", "logged in full and counted, the next image is tried")
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
        lambda frame, settings: seen.append(frame.message), Settings(max_rate=1.0)
    )
    started = time.monotonic()
    mailbox.put(Frame(0))
    assert wait_until(lambda: seen == [0])
    for index in range(1, 60):
        mailbox.put(Frame(index))
    assert wait_until(lambda: len(seen) == 2)
    assert time.monotonic() - started > 1.0
    assert seen[1] == 59, "the second one is what was newest then, not what came next"
    assert worker.stop()


def test_stopping_the_worker_does_not_wait_for_the_rate() -> None:
    worker, mailbox, _, _ = worker_of(lambda frame, settings: None, Settings(max_rate=0.01))
    mailbox.put(Frame("once per 100 s"))
    assert wait_until(lambda: mailbox.received == 1)
    started = time.monotonic()
    assert worker.stop()
    assert time.monotonic() - started < 5.0


def test_a_rate_that_rises_is_not_waited_for() -> None:
    seen: list[int] = []
    settings = [Settings(max_rate=0.001)]
    mailbox, recorder = Mailbox[Frame](), Recorder()
    log = ThrottledLog(recorder)  # type: ignore[arg-type]
    worker = Worker(
        mailbox, lambda frame, _: seen.append(frame.message), lambda: settings[0], Statistics(), log
    )
    worker.start()
    mailbox.put(Frame(1))
    assert wait_until(lambda: seen == [1])
    settings[0] = Settings()
    mailbox.put(Frame(2))
    assert wait_until(lambda: seen == [1, 2])
    assert worker.stop()


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
    assert log.recent("image", "never", "late") == ["no image", "only when it lasts"]
    log.settled("late")
    assert log.recent("image", "late") == ["no image"]
    now[0] += 10.0
    assert log.recent("image") == []
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
    assert statistics.age_s == pytest.approx(0.196)
    statistics.problem("too dark")
    assert (statistics.last_problem, statistics.last_fault) == ("too dark", "")
    statistics.problem("a bug", fault=True)
    assert statistics.last_problem == statistics.last_fault == "a bug"
    statistics.processed(0.1, None, 0)
    assert statistics.last_problem == ""


def test_diagnostics_say_what_is_missing_first() -> None:
    missing = [
        MissingInput("image", "no image: do this"),
        MissingInput("camera_info", "no camera_info: do that"),
    ]
    assert judge(missing, "", ["too dark"], True) == (
        DiagnosticStatus.WARN,
        "no image: do this; no camera_info: do that",
    )
    assert judge([], "", ["too dark", "too slow"], True) == (DiagnosticStatus.WARN, "too dark; too slow")
    assert judge([], "a bug", ["a bug", "too slow"], True) == (DiagnosticStatus.ERROR, "a bug")
    assert judge([], "", [], True) == (DiagnosticStatus.OK, "running")
    assert judge([], "a bug", ["too dark"], False)[1].startswith("idle")


def test_many_images_that_never_come_are_a_warning_with_a_fix() -> None:
    assert losses(0.0, 0.0, 0.0) == losses(28.0, 1.0, 1.0) == []
    (lost,) = losses(20.0, 10.0, 0.0)
    assert "10.0 of 30.0" in lost and "large_images:=true" in lost and "reliable" in lost
    (overtaken,) = losses(20.0, 0.0, 10.0)
    assert "10.0 of 30.0" in overtaken and "max_rate" in overtaken
    assert len(losses(10.0, 10.0, 10.0)) == 2


def test_a_slow_network_is_a_warning_with_a_fix() -> None:
    assert slowness(math.nan) == slowness(0.4) == []
    assert "0.60 s" in slowness(0.6)[0] and "backend" in slowness(0.6)[0]


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


def test_a_stopwatch_sums_laps_by_name() -> None:
    now = [10.0]
    stopwatch = Stopwatch(9.5, clock=lambda: now[0])
    stopwatch.lap("waiting")
    for step in (1.0, 2.0):
        now[0] += step
        stopwatch.lap("publishing")
    assert stopwatch.laps_s == {"waiting": 0.5, "publishing": 3.0}
    assert stopwatch.total_s == 3.5


def test_rates_are_per_second_over_the_last_looks() -> None:
    rates = Rates(looks=2)
    assert rates.update(10.0, 5, 3) == [0.0, 0.0]
    assert rates.update(12.0, 65, 43) == [30.0, 20.0]
    assert rates.update(13.0, 65, 43) == [20.0, pytest.approx(40 / 3)]
    assert rates.update(14.0, 65, 43) == [0.0, 0.0]
