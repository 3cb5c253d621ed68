"""Videos and webcams in: stamps, orientation, loops, truncated files, unplugged cameras."""

import struct

import cv2
import numpy as np
import pytest
from cli_files import write_video

from trg_ros.errors import InputError
from trg_ros.media import videos
from trg_ros.media.sources import open_source


def frames_of(spec):
    with open_source(spec) as source:
        return list(source)


@pytest.mark.parametrize(("name", "codec"), [("v.mp4", "mp4v"), ("v.avi", "MJPG"), ("v.mkv", "mp4v")])
def test_video_stamps_come_from_the_container(tmp_path, name, codec):
    path = write_video(tmp_path / name, frames=12, codec=codec, fps=8.0)
    with open_source(path) as source:
        assert (source.kind, source.length, source.fps) == ("video", 12, pytest.approx(8.0, rel=1e-3))
        frames = list(source)
    assert [frame.stamp_s for frame in frames] == pytest.approx([i / 8.0 for i in range(12)], abs=2e-3)
    assert frames[0].image_bgr.shape == (48, 64, 3)


def test_video_stamps_count_from_the_first_frame_and_never_stand_still(tmp_path, monkeypatch):
    """A container that begins at 7 s, says one stamp twice and one that is none."""
    path = write_video(tmp_path / "v.avi", frames=6)
    stamps_s = iter([7.0, 7.2, 7.2, np.nan, 8.0, 3.0])

    open_capture = cv2.VideoCapture

    class Stamped:
        def __init__(self, *arguments):
            self._capture = open_capture(*arguments)

        def get(self, what):
            return 1000 * next(stamps_s) if what == cv2.CAP_PROP_POS_MSEC else self._capture.get(what)

        def __getattr__(self, name):
            return getattr(self._capture, name)

    monkeypatch.setattr(cv2, "VideoCapture", Stamped)
    assert [frame.stamp_s for frame in frames_of(path)] == pytest.approx([0, 0.2, 0.3, 0.4, 1.0, 1.1])


def test_the_opencv_of_ubuntu(tmp_path, monkeypatch):
    """4.5.4 and 4.6.0 have no cv2.utils.logging; its functions are cv2's own."""
    path, levels = write_video(tmp_path / "v.avi", frames=2), [3]
    monkeypatch.delattr(cv2.utils, "logging", raising=False)
    monkeypatch.setattr(cv2, "getLogLevel", lambda: levels[-1], raising=False)
    monkeypatch.setattr(cv2, "setLogLevel", levels.append, raising=False)
    assert len(frames_of(path)) == 2 and levels[:3] == [3, 0, 3]


def test_a_telephones_video_is_turned_upright(tmp_path):
    """The display matrix of the track header (ISO/IEC 14496-12, 8.3.2) says: a quarter turn clockwise."""
    plain = write_video(tmp_path / "plain.mp4", frames=3, codec="mp4v")
    data = bytearray(plain.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40
    quarter_turn = (0, 1 << 16, 0, -(1 << 16), 0, 0, 48 << 16, 0, 1 << 30)
    assert struct.unpack_from(">9i", data, matrix) == (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    struct.pack_into(">9i", data, matrix, *quarter_turn)
    (tmp_path / "turned.mp4").write_bytes(data)
    turned, upright = (frames_of(tmp_path / name)[0].image_bgr for name in ("turned.mp4", "plain.mp4"))
    assert np.array_equal(turned, cv2.rotate(upright, cv2.ROTATE_90_CLOCKWISE))


def test_quarter_turns_where_opencv_turns_the_wrong_way(tmp_path, monkeypatch):
    """4.6.0: what it gives then stands on its head."""
    path = write_video(tmp_path / "v.avi", frames=1)
    given, open_capture = frames_of(path)[0].image_bgr, cv2.VideoCapture

    class Turned:
        def __init__(self, *arguments):
            self._capture = open_capture(*arguments)

        def get(self, what):
            return 270.0 if what == cv2.CAP_PROP_ORIENTATION_META else self._capture.get(what)

        def __getattr__(self, name):
            return getattr(self._capture, name)

    monkeypatch.setattr(cv2, "VideoCapture", Turned)
    for wrong_way, expected in ((True, cv2.rotate(given, cv2.ROTATE_180)), (False, given)):
        monkeypatch.setattr(videos, "_TURNS_THE_WRONG_WAY", wrong_way)
        assert np.array_equal(frames_of(path)[0].image_bgr, expected)


def test_video_loop_never_goes_back_in_time(tmp_path):
    path = write_video(tmp_path / "v.mp4", frames=5, codec="mp4v")
    with open_source(path, loop=True) as source:
        frames = [frame for frame, _ in zip(source, range(13), strict=False)]
    assert [frame.index for frame in frames] == list(range(13))
    assert np.diff([frame.stamp_s for frame in frames]) == pytest.approx(np.full(12, 0.1), abs=2e-3)


@pytest.mark.parametrize(("name", "codec"), [("v.avi", "MJPG"), ("v.mkv", "mp4v")])
def test_truncated_video_is_named_after_its_last_good_frame(tmp_path, name, codec):
    data = write_video(tmp_path / name, frames=60, codec=codec).read_bytes()
    (tmp_path / f"half_{name}").write_bytes(data[: len(data) // 2])
    with open_source(tmp_path / f"half_{name}") as source:
        frames = iter(source)
        assert next(frames).index == 0
        with pytest.raises(InputError, match=rf"half_{name}.*after \d+ of 60 frames"):
            for _ in frames:
                pass


class FakeWebcam:
    """A cv2.VideoCapture that delivers three frames and is unplugged then."""

    def __init__(self, device):
        self.left = 3
        self.released = False

    def isOpened(self):
        return True

    def get(self, _):
        return 0.0

    def set(self, *_):
        return True

    def read(self):
        self.left -= 1
        return (self.left >= 0, np.zeros((48, 64, 3), np.uint8) if self.left >= 0 else None)

    def release(self):
        self.released = True


def test_webcam_stamps_grow_and_unplugging_is_an_error(monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", FakeWebcam)
    stamps = []
    with open_source(0) as source, pytest.raises(InputError, match="webcam 0 delivers no frame after 3"):
        stamps.extend(frame.stamp_s for frame in source)
    with open_source("0") as source:
        frames = iter(source)
        stamps = [next(frames).stamp_s for _ in range(3)]
        capture = source._capture
    assert stamps[0] == 0.0 and stamps == sorted(stamps)
    assert capture.released
