"""A device without memory for all faces at once: smaller batches, the same heads; for none: a clear error."""

import numpy as np
import pytest
import torch
from discs import DiscBackend, box_of, checkpoint, draw

from trg_ros.camera import CameraModel
from trg_ros.errors import DeviceError
from trg_ros.estimator import HeadPoseEstimator

CAMERA = CameraModel.pinhole(500, 500, 319.5, 239.5, 640, 480)
PLACES = np.array([[-0.4, 0.0, 1.2], [-0.1, 0.0, 1.2], [0.2, 0.0, 1.2], [0.5, 0.0, 1.2], [0.0, 0.3, 1.2]])


class SmallBackend(DiscBackend):
    """Runs out of memory beyond `room` faces."""

    def __init__(self, room):
        super().__init__()
        self.room = room
        self.refused = 0

    def infer(self, crops_rgb, boxes):
        if len(crops_rgb) > self.room:
            self.refused += 1
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().infer(crops_rgb, boxes)


def estimate(backend, times=1):
    estimator = HeadPoseEstimator(checkpoint(), backend, None)
    boxes = [box_of(CAMERA, place) for place in PLACES]
    image = draw(CAMERA, PLACES)
    for _ in range(times):
        heads = estimator.estimate(image, CAMERA, boxes=boxes, refine=0)
    return np.array([head.translation for head in heads])


@pytest.mark.fault("device out of memory (simulated)", "smaller batches from then on, the same heads")
def test_smaller_batches_give_the_same_heads_and_are_remembered():
    small = SmallBackend(room=2)
    np.testing.assert_array_equal(estimate(small, times=3), estimate(DiscBackend()))
    assert small.refused == 2, "5, then 3; the third attempt and every later image fit"
    assert small.batches == [2, 2, 1] * 3


@pytest.mark.fault("no memory for one face (simulated)", "an error that says what to do; the node lives")
def test_no_room_for_a_single_face_is_an_error_that_says_what_to_do():
    with pytest.raises(DeviceError, match="device cpu"):
        estimate(SmallBackend(room=0))
