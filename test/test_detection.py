"""Face detection: the real library on the real photo, padded rows, threads, clear errors without it."""

import importlib.util
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from trg_ros import libfacedetection
from trg_ros.detection import (
    Detections,
    LibFaceDetection,
    OpenCVYuNet,
    ReducingDetector,
    make_detector,
    trg_boxes_from_face_boxes,
)
from trg_ros.errors import DetectorError, InputError
from trg_ros.finder.detector import TRGFinder

TASKS = Path("/proc/self/task")
FACE = np.array([176, 64, 273, 194])  # the astronaut's face, forehead to chin, read off the photo


@pytest.fixture(scope="module")
def detector():
    try:
        return LibFaceDetection()
    except DetectorError as error:
        pytest.skip(f"libfacedetection is not here: {error}")


def overlap(a, b):
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    inner = np.prod(np.maximum(sides, 0))
    return inner / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - inner)


@pytest.mark.parametrize("max_side", [160, 320, 640])
def test_finds_the_face_at_any_reduced_size(detector, astronaut_bgr, max_side):
    found = LibFaceDetection(max_side=max_side).detect(astronaut_bgr)
    assert len(found) == 1
    assert overlap(found.boxes[0], FACE) > 0.7
    assert 0.6 < found.scores[0] <= 1
    eye_right, eye_left, nose, mouth_right, mouth_left = found.keypoints[0]
    assert eye_right[0] < nose[0] < eye_left[0] and mouth_right[0] < mouth_left[0]
    assert max(eye_right[1], eye_left[1]) < nose[1] < min(mouth_right[1], mouth_left[1])
    assert found.boxes.dtype == np.float32 and found.keypoints.shape == (1, 5, 2)


def test_boxes_are_scaled_back(astronaut_bgr, detector):
    """A large copy of the photo gives the same boxes, times the factor, to the detector's whole pixels."""
    large = cv2.resize(astronaut_bgr, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)
    small, big = detector.detect(astronaut_bgr), detector.detect(large)
    assert np.abs((small.boxes + 0.5) * 3 - (big.boxes + 0.5)).max() < 3 * 512 / 320 * 2


class _Says(ReducingDetector):
    """Three faces, worst first, at the same places of whatever image it gets; and how large that was."""

    boxes = np.array([[9, 9, 19, 29], [0, 0, 39, 23], [4.5, 2, 14.5, 12]], np.float32)
    scores = np.array([0.5, 0.7, 0.9], np.float32)

    def _detect(self, image_bgr):
        self.size = image_bgr.shape[1::-1]
        return Detections(self.boxes, self.scores, self.boxes[:, None, :2] + np.zeros((5, 2), np.float32))


def test_faces_of_the_reduced_image_are_scaled_back_exactly_best_first_and_weak_ones_left_out():
    """Of a 100 x 60 image reduced to 40 x 24: an edge stays an edge, 0 px there is 0.75 px here."""
    detector = _Says(40, 0.6)
    found = detector.detect(np.zeros((60, 100, 3), np.uint8))
    assert detector.size == (40, 24)
    np.testing.assert_allclose(found.scores, [0.9, 0.7])
    np.testing.assert_allclose(found.boxes, [[12, 5.75, 37, 30.75], [0.75, 0.75, 98.25, 58.25]])
    np.testing.assert_allclose(found.keypoints, np.repeat(found.boxes[:, None, :2], 5, axis=1))


def test_padded_rows_and_flipped_channels(astronaut_bgr, detector):
    detector = LibFaceDetection(max_side=1024)  # no reduction: the library reads these very rows
    expected = detector.detect(astronaut_bgr)
    padded = np.zeros((512, 700, 3), np.uint8)
    padded[:, 50:562] = astronaut_bgr
    rgb = np.ascontiguousarray(astronaut_bgr[..., ::-1])
    for view in (
        padded[:, 50:562],
        rgb[..., ::-1],
        np.asfortranarray(astronaut_bgr),
        astronaut_bgr[::-1].copy()[::-1],
    ):
        found = detector.detect(view)
        np.testing.assert_array_equal(found.boxes, expected.boxes)
        np.testing.assert_array_equal(found.scores, expected.scores)


def test_nothing_to_find(detector):
    found = detector.detect(np.full((480, 640, 3), 90, np.uint8))
    assert (
        len(found) == 0
        and found.boxes.shape == (0, 4)
        and found.scores.shape == (0,)
        and found.keypoints.shape == (0, 5, 2)
    )
    assert detector.trg_boxes(found).shape == (0, 4)
    for shape in ((1, 1, 3), (1, 500, 3), (500, 1, 3), (17, 33, 3)):
        assert len(detector.detect(np.zeros(shape, np.uint8))) == 0


def test_weak_faces_are_dropped(astronaut_bgr, detector):
    score = detector.detect(astronaut_bgr).scores[0]
    assert len(LibFaceDetection(min_score=min(1.0, float(score) + 0.01)).detect(astronaut_bgr)) == 0


def test_one_thread_and_other_settings_restored(astronaut_bgr, detector):
    """The library must not start OpenMP workers, which spin, nor change the setting of whoever called."""
    if not TASKS.is_dir():
        pytest.skip("needs /proc to count threads")
    get = detector._library._threads._get
    if get is None:
        pytest.skip("this build of the library has no OpenMP")
    before, setting, seen = len(list(TASKS.iterdir())), get(), []

    def work():
        detector.detect(astronaut_bgr)
        seen.append(len(list(TASKS.iterdir())))

    cv2.setNumThreads(1)
    detector.detect(astronaut_bgr)
    assert len(list(TASKS.iterdir())) <= before
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen[0] <= before + 1
    assert get() == setting


def test_instances_work_side_by_side(astronaut_bgr, detector):
    """Own buffers: results of two threads with different images don't mix."""
    blank = np.zeros_like(astronaut_bgr)
    wrong = []

    def work(image, count):
        own = LibFaceDetection()
        wrong.extend(1 for _ in range(15) if len(own.detect(image)) != count)

    threads = [threading.Thread(target=work, args=job) for job in ((astronaut_bgr, 1), (blank, 0))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_trg_box_is_explicit():
    """Centre lowered by 0.08 of the height, side 1.17 of the larger side."""
    np.testing.assert_allclose(
        trg_boxes_from_face_boxes([[100, 200, 180, 300]]),
        [[140 - 58.5, 258 - 58.5, 140 + 58.5, 258 + 58.5]],
        rtol=1e-6,
    )
    assert trg_boxes_from_face_boxes(np.zeros((0, 4))).shape == (0, 4)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((10, 10), np.uint8),
        np.zeros((10, 10, 3), np.float32),
        np.zeros((0, 10, 3), np.uint8),
        np.zeros((5, 5, 4), np.uint8),
    ],
)
def test_bad_images(detector, image):
    with pytest.raises(InputError, match=r"expected uint8|is empty"):
        detector.detect(image)


def test_bad_options(detector):
    with pytest.raises(InputError, match="max_side is 5"):
        LibFaceDetection(max_side=5)
    with pytest.raises(InputError, match="min_score is 2"):
        LibFaceDetection(min_score=2)


def test_missing_library_names_the_remedy(monkeypatch, tmp_path):
    monkeypatch.setattr(libfacedetection, "_candidates", lambda: iter([str(tmp_path / "none.so")]))
    with pytest.raises(DetectorError, match=r"pip install yuface.*yunet"):
        LibFaceDetection()
    with pytest.raises(DetectorError, match="pip install yuface"):
        make_detector("libfacedetection")
    with pytest.raises(DetectorError, match="pip install yuface"):
        make_detector("auto", library="/somewhere/else.so")


def test_library_search_order(monkeypatch, tmp_path):
    monkeypatch.setenv(libfacedetection.LIBRARY_VARIABLE, "/somewhere/libfacedetection.so")
    assert list(libfacedetection._candidates()) == ["/somewhere/libfacedetection.so"]
    monkeypatch.delenv(libfacedetection.LIBRARY_VARIABLE)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert list(libfacedetection._candidates()) == ["libfacedetection.so"]
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "libfacedetection.so").touch()
    assert next(libfacedetection._candidates()) == str(tmp_path / "lib" / "libfacedetection.so")


def test_a_library_of_another_kind_is_refused():
    with pytest.raises(DetectorError, match="it is not libfacedetection"):
        LibFaceDetection(library="libc.so.6")


def test_make_detector():
    with pytest.raises(DetectorError, match="'haar' is unknown"):
        make_detector("haar")
    with pytest.raises(DetectorError, match="needs a YuNet ONNX file"):
        make_detector("yunet")
    with pytest.raises(DetectorError, match="is not a file"):
        make_detector("auto", path="/nowhere/yunet.onnx")


def test_beside_the_installed_detector_is_the_packages_own(detector, astronaut_bgr):
    pytest.importorskip("openvino")
    other = make_detector("auto", max_side=256).other
    assert isinstance(other, TRGFinder) and other.max_side == 256
    assert len(other.detect(astronaut_bgr)) == 1
    assert not hasattr(make_detector("libfacedetection"), "other"), "whoever names one gets that one"


def test_yunet_refuses_what_is_no_model(tmp_path):
    path = tmp_path / "yunet.onnx"
    path.write_bytes(b"not a network")
    with pytest.raises(DetectorError, match=r"can't use .*yunet\.onnx"):
        OpenCVYuNet(path)


def test_yunet_rows(monkeypatch, tmp_path, astronaut_bgr):
    """OpenCV's row is x, y, w, h, five points, score; a stand-in network returns one in the reduced image."""

    class Network:
        def setInputSize(self, size):
            self.size = size

        def detect(self, image):
            assert image.shape[1::-1] == self.size == (256, 256)
            return 1, np.array([[88, 32, 48, 65, *range(10), 0.9], [1, 2, 3, 4, *range(10), 0.2]], np.float32)

    path = tmp_path / "yunet.onnx"
    path.touch()
    monkeypatch.setattr(cv2, "FaceDetectorYN", SimpleNamespace(create=lambda *arguments: Network()))
    found = OpenCVYuNet(path, max_side=256).detect(astronaut_bgr)
    np.testing.assert_allclose(found.boxes, [[176.5, 64.5, 272.5, 194.5]])
    np.testing.assert_allclose(found.scores, [0.9])
    np.testing.assert_allclose(found.keypoints[0, 1], [4.5, 6.5])


def test_empty_detections():
    assert len(Detections()) == 0
