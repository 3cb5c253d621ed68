"""How good the finder is, beside libfacedetection, on scenes, photos and pictures without faces.

    python -m trg_ros.finder.training.evaluate --heads FOLDER:SHARE --photos FOLDER [--weights FILE]

Prints JSON. A face counts as found when the TRG box of a detection overlaps its TRG box by at least 0.4
(intersection over union).
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from trg_ros.detection import FaceDetector, LibFaceDetection
from trg_ros.errors import DetectorError
from trg_ros.finder.decoding import overlaps
from trg_ros.finder.detector import TRGFinder
from trg_ros.finder.training.backdrops import read_photos
from trg_ros.finder.training.scenes import SceneComposer, SceneSettings
from trg_ros.finder.training.trainer import open_heads

_OVERLAP = 0.4
#: TRG box of the astronaut's face, LTRB px of the photo of 512 x 512 px, by TRG's own landmarks.
ASTRONAUT_BOX = np.array([154.2, 58.6, 294.7, 199.1])
_FACE_FREE = (
    "coffee", "rocket", "chelsea", "coins", "brick", "text", "page", "clock", "grass", "gravel", "moon",
    "horse", "hubble_deep_field", "immunohistochemistry", "retina", "cell", "colorwheel", "logo",
    "microaneurysms",
)  # fmt: skip


def found_and_wrong(
    detector: FaceDetector, image_bgr: np.ndarray, truth: np.ndarray
) -> tuple[np.ndarray, int]:
    """Which of the boxes (N, 4) were found, (N,) bool, and how many finds overlap none of them."""
    boxes = detector.trg_boxes(detector.detect(image_bgr))
    if not len(boxes) or not len(truth):
        return np.zeros(len(truth), bool), len(boxes)
    shared = overlaps(truth, boxes)
    return shared.max(axis=1) >= _OVERLAP, int((shared.max(axis=0) < 0.2).sum())


Case = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Image BGR, boxes (N, 4) LTRB px of all faces, (N,) bool which of them should be found."""


def scene_cases(composer: SceneComposer, count: int, seed: int) -> Iterable[Case]:
    """Composed scenes that no training has seen."""
    for number in range(count):
        scene = composer.scene(seed, number)
        half = scene.boxes[:, 2:] / 2
        boxes = np.concatenate([scene.boxes[:, :2] - half, scene.boxes[:, :2] + half], axis=1)
        yield np.ascontiguousarray(scene.image[..., ::-1]), boxes, scene.wanted


def photo_cases(
    photo_bgr: np.ndarray, box: np.ndarray, backgrounds: Sequence[np.ndarray], count: int, seed: int
) -> Iterable[Case]:
    """A photo with one face, small and large, turned and anywhere, over backgrounds of 320 x 240 px."""
    rng = np.random.default_rng([seed, 5])
    width, height = 320, 240
    for _ in range(count):
        side = math.exp(rng.uniform(math.log(22), math.log(230)))
        scale, angle = side / (box[2] - box[0]), math.radians(rng.uniform(-30, 30))
        center = np.array([width, height]) * rng.uniform(0.2, 0.8, 2)
        turn = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        middle = (box[:2] + box[2:]) / 2
        place = np.column_stack([turn, center - turn @ middle])
        background = backgrounds[int(rng.integers(len(backgrounds)))]
        canvas = cv2.resize(background, (width, height), interpolation=cv2.INTER_AREA)[..., ::-1].copy()
        reduced = cv2.GaussianBlur(photo_bgr, (0, 0), 0.45 / scale) if scale < 0.7 else photo_bgr
        cv2.warpAffine(reduced, place, (width, height), canvas, borderMode=cv2.BORDER_TRANSPARENT)
        truth = np.concatenate([center - side / 2, center + side / 2])[None]
        yield canvas, truth, np.ones(1, bool)


def compare(cases: Iterable[Case], ours: FaceDetector, theirs: FaceDetector | None) -> dict[str, Any]:
    """Recall by size, finds where there is no face, and our recall of the faces that they found."""
    rows: list[tuple[float, bool, bool, bool]] = []
    wrong, images = np.zeros(2, int), 0
    for image, truth, asked in cases:
        mine, mistakes = found_and_wrong(ours, image, truth)
        other, their_mistakes = (mine, 0) if theirs is None else found_and_wrong(theirs, image, truth)
        wrong += [mistakes, their_mistakes]
        images += 1
        rows += zip(truth[:, 2] - truth[:, 0], mine, other, asked, strict=True)
    side, found, found_theirs, wanted = np.array(rows, np.float64).reshape(-1, 4).T
    hit, hit_theirs, ask = found > 0, found_theirs > 0, wanted > 0
    result: dict[str, Any] = {"images": images, "wrong_per_image": wrong[0] / max(images, 1)}
    bins = ((14, 24), (24, 32), (32, 48), (48, 96), (96, 1e6))
    result["recall_by_side_px"] = {
        f"{low:.0f}+": [_mean(hit[s]), int(s.sum())]
        for low, high in bins
        if (s := ask & (side >= low) & (side < high)).any()
    }
    large = ask & (side >= 32)
    result["recall_from_32_px"] = _mean(hit[large])
    if theirs is not None:
        result["libfacedetection"] = {
            "recall_from_32_px": _mean(hit_theirs[large]),
            "wrong_per_image": wrong[1] / max(images, 1),
            "our_recall_of_its_faces_from_32_px": _mean(hit[large & hit_theirs]),
            "its_recall_of_our_faces_from_32_px": _mean(hit_theirs[large & hit]),
        }
    return result


def _mean(values: np.ndarray) -> float | None:
    return round(float(values.mean()), 4) if len(values) else None


def face_free_pictures(photos: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """BGR pictures without people: scikit-image's, where it is installed, and the given RGB ones."""
    pictures = {f"photo {k}": np.ascontiguousarray(photo[..., ::-1]) for k, photo in enumerate(photos)}
    try:
        from skimage import data
    except ImportError:
        return pictures
    for name in _FACE_FREE:
        try:
            image = np.asarray(getattr(data, name)())
        except (AttributeError, OSError, ImportError, ValueError):
            continue  # a picture that this version doesn't carry along
        if image.dtype == np.uint8:
            image = image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)
            pictures[name] = np.ascontiguousarray(image[..., 2::-1])
    return pictures


def wrong_finds(detector: FaceDetector, pictures: dict[str, np.ndarray]) -> dict[str, int]:
    """Finds per picture, of those with any."""
    counts = {name: len(detector.detect(picture)) for name, picture in pictures.items()}
    return {name: count for name, count in counts.items() if count}


def milliseconds(detector: FaceDetector, width: int, height: int, repeats: int = 40) -> float:
    """Median of one call on a noisy picture, wall clock."""
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        detector.detect(image)
        times.append(time.perf_counter() - start)
    return round(1000 * float(np.median(times[3:])), 2)


def evaluate(given: argparse.Namespace) -> dict[str, Any]:
    """Everything that can be measured with what is there."""
    ours = TRGFinder(given.weights, min_score=given.min_score)
    theirs: FaceDetector | None
    try:
        theirs = LibFaceDetection()
    except DetectorError:
        theirs = None
    photos = read_photos(given.photos)
    result: dict[str, Any] = {"min_score": given.min_score}
    if given.heads:
        settings = SceneSettings(320, 240, sides=(14.0, 230.0), crowded=0.2)
        composer = SceneComposer(open_heads(given.heads), photos, settings)
        result["scenes"] = compare(scene_cases(composer, given.scenes, seed=1000), ours, theirs)
    try:
        from skimage import data

        photo = np.ascontiguousarray(data.astronaut()[..., ::-1])
        cases = photo_cases(photo, ASTRONAUT_BOX, photos, given.scenes, seed=1)
        result["astronaut"] = compare(cases, ours, theirs)
    except ImportError:
        result["astronaut"] = "scikit-image is not installed"
    pictures = face_free_pictures(photos)
    for side in (320, 640):
        name = f"wrong_finds_on_{len(pictures)}_pictures_at_{side}"
        finder = TRGFinder(given.weights, max_side=side, min_score=given.min_score)
        result[name] = {"trg": wrong_finds(finder, pictures)}
        entry = {"trg": milliseconds(finder, side, side * 3 // 4)}
        if theirs is not None:
            other = LibFaceDetection(max_side=side)
            result[name]["libfacedetection"] = wrong_finds(other, pictures)
            entry["libfacedetection"] = milliseconds(other, side, side * 3 // 4)
        result[f"milliseconds_{side}x{side * 3 // 4}"] = entry
    return result


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Measure the face finder.")
    parser.add_argument("--heads", nargs="*", default=(), metavar="FOLDER:SHARE", help="held-out heads")
    parser.add_argument("--photos", type=Path, required=True, help="held-out pictures without people")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--scenes", type=int, default=300)
    parser.add_argument("--min-score", type=float, default=0.6)
    cv2.setNumThreads(1)
    print(json.dumps(evaluate(parser.parse_args(arguments)), indent=1))


if __name__ == "__main__":
    main()
