"""Overlays: what is drawn lies where the camera model says, and drawing never fails."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from fake_finders import head_pose

from trg_ros.camera import CameraModel
from trg_ros.errors import InputError
from trg_ros.geometry import HEAD_R_FACE, make_transform
from trg_ros.tracking import TrackedHead
from trg_ros.visualization import draw_axes, draw_heads, identity_colour

CAMERA = CameraModel.from_fov(60.0, 640, 480)
FISHEYE = CameraModel.pinhole(220, 220, 320, 240, 640, 480, [0.05, 0.01, 0.0, 0.0], "equidistant")
LENS = CameraModel.pinhole(550, 560, 320, 240, 640, 480, [-0.3, 0.1, 0.001, 0.002, 0.0])


def head_at(position, camera=CAMERA, size_px=160.0, identity=0, count=1220):
    """A head that looks straight into the camera, with landmarks on half an ellipsoid around `position`."""
    rng = np.random.default_rng(identity)
    directions = rng.normal(size=(count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    directions[:, 2] = -np.abs(directions[:, 2])
    landmarks = np.asarray(position) + [0.0, 0.0, 0.1] + directions * [0.07, 0.1, 0.1]
    centre = camera.project(np.asarray(position, float)[None])[0]
    head = SimpleNamespace(
        camera_T_face=make_transform(HEAD_R_FACE, np.asarray(position, float)),
        rotation=np.eye(3),
        landmarks_camera=landmarks,
        landmarks_image=camera.project(landmarks),
        box=np.array([*(centre - size_px / 2), *(centre + size_px / 2)], np.float32),
        score=0.9,
    )
    return SimpleNamespace(id=identity, head=head)


def blank():
    return np.full((480, 640, 3), 90, np.uint8)


def test_the_image_given_stays_as_it_was():
    image = blank()
    image.flags.writeable = False
    overlay = draw_heads(image, [head_at([0.0, 0.0, 0.6])], CAMERA)
    assert overlay.shape == image.shape and overlay.dtype == np.uint8 and overlay.flags.writeable
    assert np.all(image == 90) and np.any(overlay != 90)


def test_what_the_estimator_returns_can_be_drawn_as_it_is():
    heads = [
        head_pose(LENS, make_transform(HEAD_R_FACE, np.array(place)), box, 0.9)
        for place, box in (([0.0, 0.0, 0.6], [270, 190, 370, 290]), ([0.2, 0.0, 0.8], [410, 200, 500, 290]))
    ]
    tracked = [TrackedHead(index, 0, head) for index, head in enumerate(heads)]
    overlay = draw_heads(blank(), heads, labels=False)
    assert np.array_equal(overlay, draw_heads(blank(), tracked, LENS, labels=False))
    assert np.any(draw_heads(blank(), heads) != overlay), "how far they are"


def test_no_heads_no_change():
    assert np.array_equal(draw_heads(blank(), [], CAMERA), blank())


@pytest.mark.parametrize("camera", [CAMERA, LENS, FISHEYE])
def test_axes_end_where_the_camera_model_projects_them(camera):
    """x red, y green, z blue of a turned frame; the colour is found at points along the projected axes."""
    turn = cv2.Rodrigues(np.array([0.5, 0.6, -0.2]))[0]
    camera_T_face = make_transform(turn @ HEAD_R_FACE, np.array([0.15, -0.08, 0.5]))
    canvas = blank()
    draw_axes(canvas, camera_T_face, camera, 0.1, 4.0)
    for axis, channel in ((0, 2), (1, 1), (2, 0)):
        for along in (0.5, 0.9):
            point = camera_T_face[:3, 3] + along * 0.1 * camera_T_face[:3, axis]
            x, y = np.round(camera.project(point[None])[0]).astype(int)
            colour = canvas[y, x].astype(int)
            assert colour[channel] > 150 and colour[channel] == colour.max(), (axis, along, colour)


def test_rep_155_axes_of_a_face_that_looks_into_the_camera():
    """Blue goes up in the image, green to the person's left, which is the image's right."""
    canvas = blank()
    draw_axes(canvas, make_transform(HEAD_R_FACE, np.array([0.0, 0.0, 0.5])), CAMERA, 0.1, 4.0)
    blue = np.argwhere((canvas[..., 0] > 200) & (canvas[..., 2] < 100)).mean(axis=0)
    green = np.argwhere((canvas[..., 1] > 150) & (canvas[..., 0] < 100)).mean(axis=0)
    assert blue[0] < 220 and blue[1] == pytest.approx(319.5, abs=2)
    assert green[1] > 340 and green[0] == pytest.approx(239.5, abs=2)


def test_landmarks_cover_their_pixels():
    item = head_at([0.0, 0.0, 0.6])
    plain = draw_heads(blank(), [item], CAMERA, landmarks=False)
    dotted = draw_heads(blank(), [item], CAMERA)
    pixels = np.round(item.head.landmarks_image).astype(int)
    untouched = np.all(plain[pixels[:, 1], pixels[:, 0]] == 90, axis=1)
    shown = np.any(dotted[pixels[:, 1], pixels[:, 0]] != 90, axis=1)
    assert untouched.sum() > 600 and np.all(shown[untouched])


def test_the_axes_of_a_far_head_do_not_cover_a_near_one():
    near, far = head_at([0.0, 0.0, 0.5], identity=1), head_at([0.0, 0.0, 0.9], identity=2)
    overlay = draw_heads(blank(), [near, far], CAMERA, landmarks=False, labels=False)
    alone = draw_heads(blank(), [near], CAMERA, landmarks=False, labels=False)
    assert np.array_equal(overlay[240, 319], alone[240, 319])
    assert np.array_equal(overlay, draw_heads(blank(), [far, near], CAMERA, landmarks=False, labels=False))


@pytest.mark.parametrize(
    "item",
    [
        head_at([5.0, 0.0, 0.5]),
        head_at([0.0, 0.0, -0.5]),
        head_at([0.0, 0.0, 1e-6]),
        head_at([0.3, 0.2, 0.3], size_px=5000.0),
        head_at([0.0, 0.0, 8.0], size_px=4.0),
        head_at([0.0, 0.0, 0.6], identity=123456789),
        head_at([0.0, 0.0, 0.6], count=1),
        head_at([np.nan, 0.0, 0.6]),
    ],
    ids=["outside", "behind", "in_the_lens", "huge", "tiny", "long_id", "one_landmark", "nan"],
)
@pytest.mark.parametrize("shape", [(480, 640), (1, 1), (17, 33), (2160, 3840)])
def test_drawing_never_fails(item, shape):
    image = np.zeros((*shape, 3), np.uint8)
    with np.errstate(all="raise", under="ignore"):
        assert draw_heads(image, [item], CAMERA).shape == image.shape


def test_a_head_partly_outside_is_drawn_partly():
    item = head_at([-0.33, 0.0, 0.6])
    overlay = draw_heads(blank(), [item], CAMERA)
    assert np.any(overlay[:, :60] != 90) and np.all(overlay[:, 500:] == 90)


def test_identities_have_colours_of_their_own():
    assert len({identity_colour(identity) for identity in range(8)}) == 8
    assert identity_colour(3) == identity_colour(11)


@pytest.mark.parametrize("image", [np.zeros((48, 64), np.uint8), np.zeros((48, 64, 3), np.float32)])
def test_wrong_images_are_refused(image):
    with pytest.raises(InputError):
        draw_heads(image, [], CAMERA)


def test_a_head_that_is_not_in_a_list_is_refused():
    with pytest.raises(InputError, match=r"\[head\] for a single one"):
        draw_heads(np.zeros((48, 64, 3), np.uint8), head_at([0.0, 0.0, 1.0]), CAMERA)


def test_in_a_small_face_landmarks_tint_and_do_not_hide():
    def changed(size_px):
        item = head_at([0.0, 0.0, 96.0 / size_px], size_px=size_px)
        drawn, plain = (
            draw_heads(blank(), [item], CAMERA, labels=False, landmarks=on) for on in (True, False)
        )
        reach = int(0.3 * size_px)
        face = slice(240 - reach, 240 + reach), slice(320 - reach, 320 + reach)
        return np.abs(drawn[face].astype(int) - plain[face]).mean()

    assert changed(24.0) < 2.5 * changed(200.0)
