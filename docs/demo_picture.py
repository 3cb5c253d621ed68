"""Makes docs/images/demo.jpg with the packaged weights: `python docs/demo_picture.py`.

What `make demo` shows, without ROS: a virtual camera that turns and zooms over a photo, and a tracker that
follows the head in it.
"""

from pathlib import Path

import cv2
import numpy as np
import skimage.data

from trg_ros import CameraModel, HeadPoseEstimator, HeadTracker, draw_heads
from trg_ros.media.virtual_camera import VirtualCamera

PICTURE = Path(__file__).resolve().parent / "images" / "demo.jpg"
SIZE, RATE, SHOWN_S = (640, 480), 10.0, (0.9, 2.4, 3.6, 5.1, 6.6, 9.3)
FACE_PX = (225.0, 138.0)


def main() -> None:
    photo = np.ascontiguousarray(skimage.data.astronaut()[..., ::-1])
    height, width = photo.shape[:2]
    focal = float(width + height)  # nobody knows the photo's camera: the paper's convention
    camera = CameraModel.pinhole(focal, focal, 0.5 * (width - 1), 0.5 * (height - 1), width, height)
    view = VirtualCamera(photo, camera, SIZE, target_px=FACE_PX)
    tracker = HeadTracker(HeadPoseEstimator.load())
    shown = []
    for index in range(round(RATE * max(SHOWN_S)) + 1):
        stamp_s = index / RATE
        image, virtual, _ = view.frame(stamp_s)
        heads = tracker.update(image, virtual, stamp_s)
        if any(abs(stamp_s - when) < 0.5 / RATE for when in SHOWN_S):
            overlay = draw_heads(image, heads, virtual)
            shown.append(cv2.resize(overlay, (SIZE[0] // 2, SIZE[1] // 2), interpolation=cv2.INTER_AREA))
    rows = [np.hstack(shown[row : row + 3]) for row in (0, 3)]
    cv2.imwrite(str(PICTURE), np.vstack(rows), [cv2.IMWRITE_JPEG_QUALITY, 92])
    print(f"{PICTURE}: {[one.head for one in heads]}")


if __name__ == "__main__":
    main()
