"""Face box -> crop: square windows on the normalised plane, and one resampling of the raw image into each.

The network looks at a face through a *virtual camera*: no distortion, unit focal length, the centre of the
real camera. For a box it has the real camera's axes too, unless the face is far off the optical axis (a
fisheye, a very wide lens); then it turns towards the face. Once TRG has seen the head, the virtual camera of
the next look faces the head and stands upright with it: where the head is in the image and how it leans are
then exact geometry, not something the network has to have learned. The pose that it finds is turned back by
``camera_R_virtual``. A window is a square on the virtual camera's normalised plane, so distortion and
fx != fy are exact.

Crop convention (the paper's release): pixel i of S samples the window at ``left + i * side / (S - 1)``, i = 0
being the left edge and S - 1 the right one; bilinear, zero outside the image.
"""

from trg_ros.crop.boxes import LANDMARK_BOX_SCALE, box_from_landmarks68, centered_box, square_box
from trg_ros.crop.cutting import crop_camera, cut_crops, cut_windows
from trg_ros.crop.windows import CropWindows

__all__ = [
    "LANDMARK_BOX_SCALE",
    "CropWindows",
    "box_from_landmarks68",
    "centered_box",
    "crop_camera",
    "cut_crops",
    "cut_windows",
    "square_box",
]
