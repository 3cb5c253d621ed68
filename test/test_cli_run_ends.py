"""`trg-headpose run` that ends early: what is kept, and what never is there by halves."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cli_files import tree
from fake_finders import FakeFinder

from trg_ros import cli
from trg_ros.commands import run as run_command
from trg_ros.errors import InputError
from trg_ros.media.frames import Frame, Source
from trg_ros.media.results import ResultFolder
from trg_ros.media.sources import open_source


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
    monkeypatch.setattr(run_command, "open_source", lambda spec, **options: FakeWebcam(ending))
    assert cli.main(["run", "0", "--out", "results", "--fov", "60"]) == status
    assert tree("results") == ["heads.jsonl", "overlay.mp4"]
    assert len(Path("results/heads.jsonl").read_text().splitlines()) == 3


@pytest.mark.parametrize("frames", [0, 2])
def test_ctrl_c_in_a_video_keeps_what_was_done(frames, folder, monkeypatch, capfd):
    class Interrupted(FakeFinder):
        def heads(self, frame, camera):
            if frame.index == frames:
                raise KeyboardInterrupt
            return super().heads(frame, camera)

    monkeypatch.setattr(run_command, "HeadFinder", Interrupted)
    before = tree(folder)
    arguments = ["run", "good/video.avi", "--out", "results/new", "--fov", "60"]
    assert cli.main(arguments) == 130
    out, err = capfd.readouterr()
    assert err == "trg-headpose: interrupted\n"
    if frames == 0:
        assert out == "" and tree(folder) == before
        return
    assert out.startswith("2 frames, 2 heads") and tree("results/new") == ["heads.jsonl", "overlay.mp4"]
    assert len(list(open_source("results/new/overlay.mp4"))) == 2
    lines = Path("results/new/heads.jsonl").read_text().splitlines()
    assert [json.loads(line)["index"] for line in lines] == [0, 1]


@pytest.fixture
def ctrl_c_interrupts():
    """Also where whoever started the tests has it ignored, as shells do for jobs in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c_interrupts")
def test_ctrl_c_between_a_line_and_its_overlay_waits(folder, with_a_head, monkeypatch, capfd):
    draw = ResultFolder._draw

    def interrupted(self, frame, camera, heads):
        if frame.index == 2:
            signal.raise_signal(signal.SIGINT)
        draw(self, frame, camera, heads)

    monkeypatch.setattr(ResultFolder, "_draw", interrupted)
    assert cli.main(["run", "good/video.avi", "--out", "results/new", "--fov", "60"]) == 130
    assert capfd.readouterr().out.startswith("3 frames, 3 heads")
    assert len(Path("results/new/heads.jsonl").read_text().splitlines()) == 3
    assert len(list(open_source("results/new/overlay.mp4"))) == 3


def test_ctrl_c_does_not_replace_the_results_of_an_earlier_run(folder, with_a_head, monkeypatch):
    arguments = ["run", "good/video.avi", "--out", "results", "--fov", "60", "--no-overlay"]
    assert cli.main(arguments) == 0
    before = Path("results/heads.jsonl").read_bytes()

    def interrupted(self, frame):
        self.frames += 1
        raise KeyboardInterrupt

    monkeypatch.setattr(run_command._Run, "_process_frame", interrupted)
    assert cli.main(arguments) == 130
    assert Path("results/heads.jsonl").read_bytes() == before


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
