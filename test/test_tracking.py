"""The tracker: identities, slots, when it looks for faces, and how tracks end."""

from types import SimpleNamespace

import numpy as np
import pytest
from discs import DiscBackend, DiscDetector, box_of, checkpoint, draw

from trg_ros.camera import CameraModel
from trg_ros.crop import CropWindows
from trg_ros.errors import InputError
from trg_ros.estimator import HeadPoseEstimator
from trg_ros.tracking import HeadTracker
from trg_ros.tracking.appearance import PARTS, UNSEEN, colours
from trg_ros.tracking.tracks import Look, clear_parts, hidden_parts, in_view

CAMERA = CameraModel.pinhole(500, 500, 319.5, 239.5, 640, 480)
A, B, C = np.array([-0.3, 0.0, 1.0]), np.array([0.0, 0.1, 0.9]), np.array([0.35, -0.1, 1.1])


class World:
    """A tracker, its detector, and a clock of 30 frames a second."""

    def __init__(self, **options):
        self.detector = DiscDetector()
        self.estimator = HeadPoseEstimator(checkpoint(), DiscBackend(), self.detector)
        self.tracker = HeadTracker(self.estimator, **options)
        self.time_s = 100.0

    def see(self, *centers, camera=CAMERA, step_s=1 / 30, **arguments):
        self.time_s += step_s
        return self.tracker.update(draw(camera, centers), camera, self.time_s, **arguments)


def ids(heads):
    return [(tracked.id, tracked.slot) for tracked in heads]


def nearest(heads, center):
    return min(heads, key=lambda tracked: np.linalg.norm(tracked.head.translation - center))


def test_identities_follow_moving_heads():
    world = World()
    first = world.see(A, B)
    identity_a, identity_b = nearest(first, A).id, nearest(first, B).id
    assert sorted(ids(first)) == [(1, 0), (2, 1)]
    for frame in range(30):
        moved_a, moved_b = A + [-0.002 * frame, 0.006 * frame, 0], B + [0.004 * frame, 0, 0.02 * frame]
        heads = world.see(moved_a, moved_b)
        assert ids(heads) == [(1, 0), (2, 1)], "ordered by id"
        for identity, truth in ((identity_a, moved_a), (identity_b, moved_b)):
            found = next(tracked.head for tracked in heads if tracked.id == identity)
            assert np.linalg.norm(found.translation - truth) < 0.02


def test_detection_every_few_frames_only():
    world = World(detection_interval=5)
    for _ in range(21):
        world.see(A)
    assert world.detector.calls == 5
    assert sum(world.estimator._backend.batches) == 22, "one look a frame, and a second one for the new face"


def test_images_that_come_slowly_are_searched_as_often_a_second():
    world = World(detection_interval=6)
    for _ in range(21):
        world.see(A, step_s=0.1)
    assert world.detector.calls == 11


def test_who_was_found_behind_somebody_is_looked_at_again():
    near, behind = (
        CropWindows.from_boxes(CAMERA, [box]) for box in ([200, 150, 400, 350], [240, 60, 340, 160])
    )
    for found in (True, False):
        sight = SimpleNamespace(look=SimpleNamespace(found=found), hidden=0.7)
        looks = [Look(near, 0.9), Look(behind, 0.9, track=SimpleNamespace(sight=sight))]
        assert in_view(looks, [0.5, 1.0]) == looks[: 1 + found]


def test_what_shows_of_somebody_beside_above_and_behind_others_is_clear():
    boxes = [[300, 200, 400, 300], [360, 150, 460, 250], [300, 300, 400, 400], [340, 260, 440, 360]]
    windows = CropWindows.from_boxes(CAMERA, boxes)
    depths, face = [1.0, 0.9, 0.8, 1.1], PARTS[:1]
    clear = clear_parts(windows, depths, face, hidden_parts(windows, depths, face))[:, 0]
    left, top, _, bottom = face[0]
    assert (clear[2] == face[0]).all(), "nobody is nearer"
    assert np.isnan(clear[3]).all(), "behind all others"
    assert left == clear[0, 0] and top == clear[0, 1] and clear[0, 3] < bottom, "above who is below"
    assert clear[0, 2] <= 0.7, "beside whom is to the right"
    alone = clear_parts(windows[:2], depths[:2], face, hidden_parts(windows[:2], depths[:2], face))[0, 0]
    np.testing.assert_allclose(alone, [left, top, 0.55, bottom], atol=0.02)


def test_colours_are_those_of_the_clear_strip():
    image = np.zeros((100, 100, 3), np.uint8)
    image[:, :50], image[:, 50:] = (40, 80, 160), (160, 80, 40)
    box = np.array([0.0, 0.0, 100.0, 100.0])
    nothing = [np.nan] * 4
    strip = [[0.3, 0.3, 0.45, 0.8], nothing, nothing]
    seen, whole = colours(image, box, strip), colours(image[:, :50].repeat(2, axis=1), box)
    np.testing.assert_allclose(seen[0], whole[0])
    assert np.isnan(seen[1:]).all() and colours(image, box, [nothing] * 3) is UNSEEN


def test_colours_of_somebody_who_is_alone_are_read_ten_times_a_second(monkeypatch):
    seen = []

    def counted(image_bgr, box, clear):
        seen.append(np.isfinite(clear).any())
        return colours(image_bgr, box, clear)

    monkeypatch.setattr("trg_ros.tracking.tracker.colours", counted)
    world = World()
    for _ in range(31):
        world.see(A)
    assert len(seen) == 31 and 8 <= sum(seen) <= 12
    seen.clear()
    for _ in range(20):
        world.see(A, B)
    assert sum(seen[-16:]) == 16, "two people can be mistaken for each other"


def test_nobody_there_looks_each_frame():
    world = World(detection_interval=5)
    for _ in range(4):
        assert world.see() == []
    assert world.detector.calls == 4
    assert world.estimator.forward_passes == 0
    assert ids(world.see(A)) == [(1, 0)]


def test_slots_are_recycled_ids_are_not():
    world = World(detection_interval=1)
    world.see(A, B, C)
    gone = nearest(world.see(A, B, C), A)
    for _ in range(6):
        rest = world.see(B, C, step_s=0.4)
    assert gone.id not in [tracked.id for tracked in rest] and len(rest) == 2
    back = world.see(A, B, C)
    newcomer = nearest(back, A)
    assert newcomer.id == 4 and newcomer.slot == gone.slot
    assert sorted(slot for _, slot in ids(back)) == [0, 1, 2]


def test_a_head_that_vanishes_ends_at_once_and_raises_doubt():
    world = World(detection_interval=1000)
    world.see(A, B)
    world.see(A, B)
    calls = world.detector.calls
    assert len(world.see(B)) == 1, "the network's own doubt ends it, without a detection"
    assert world.detector.calls == calls
    world.see(B)
    assert world.detector.calls == calls + 1


def test_leaving_the_image_ends_a_track():
    world = World(detection_interval=1000)
    leaving = [A - [0.02 * frame, 0, 0] for frame in range(40)]
    counts = [len(world.see(center)) for center in leaving]
    assert max(counts) == 1 and counts[:16] == [1] * 16 and counts[-9:] == [0] * 9


def test_the_detector_missing_a_face_often_ends_it():
    """The network alone can't be trusted for long: it also believes in faces that aren't there."""
    world = World(detection_interval=2)
    world.see(A)
    world.detector.blind = True
    counts = [len(world.see(A)) for _ in range(12)]
    assert counts[:7] == [1] * 7, "a few misses are normal: turned away, covered"
    assert counts[-1] == 0


def test_a_head_that_is_back_within_half_a_second_is_the_same():
    world = World(detection_interval=5)
    before = ids(world.see(A, B))
    world.see(A, B)
    for _ in range(15):
        assert len(world.see(B)) == 1
    counts = [ids(world.see(A + [0.03, 0.0, 0.05], B)) for _ in range(4)]
    assert counts[-1] == before, "same id, same slot"


def test_who_is_away_longer_has_to_look_the_same():
    for green, expected in ((200, 1), (140, 3)):
        world = World(detection_interval=2)
        world.see(A, B)
        for _ in range(6):
            world.see(B, step_s=0.2)
        for _ in range(2):
            world.time_s += 0.2
            heads = world.tracker.update(draw(CAMERA, [A, B], [green, 200]), CAMERA, world.time_s)
        assert nearest(heads, A).id == expected, "1.4 seconds later, in the same or another colour"


def test_a_newcomer_elsewhere_is_not_the_lost_head():
    world = World(detection_interval=5)
    world.see(A, B)
    for _ in range(3):
        world.see(B)
    for _ in range(4):
        heads = world.see(B, C)
    assert [tracked.id for tracked in heads][-1] == 3
    assert sorted(slot for _, slot in ids(heads)) != [0, 1], "the lost head's slot is kept for it"


def test_who_is_seen_below_somebody_nearer_is_followed():
    """A body should hide what is below its head; but a child on a lap, or a picture, is seen there."""
    world = World()
    above, below = np.array([0.0, -0.2, 0.9]), np.array([0.0, 0.15, 1.1])
    assert [ids(world.see(above, below)) for _ in range(8)] == [[(1, 0), (2, 1)]] * 8


def test_only_known_heads_while_the_search_is_off():
    world = World(detection_interval=1)
    world.see(A)
    world.tracker.searching = False
    calls = world.detector.calls
    assert [len(world.see(A, B)) for _ in range(4)] == [1] * 4
    assert world.detector.calls == calls
    world.tracker.searching = True
    assert len(world.see(A, B)) == 2


@pytest.mark.parametrize("mirror", [False, True])
def test_a_mirror_is_looked_into_on_demand(monkeypatch, mirror):
    world, asked = World(mirror=mirror), []
    look = world.estimator.estimate_windows

    def estimate_windows(image, camera, windows, refine, mirror=False):
        asked.append(mirror)
        return look(image, camera, windows, refine, mirror)

    monkeypatch.setattr(world.estimator, "estimate_windows", estimate_windows)
    assert len(world.see(A)) == len(world.see(A)) == 1
    assert asked == [mirror, mirror]


def test_most_faces_at_once():
    world = World(max_faces=2, detection_interval=1)
    heads = world.see(A, B, C)
    assert len(heads) == 2 and sorted(slot for _, slot in ids(heads)) == [0, 1]
    assert ids(world.see(A, B, C)) == ids(heads), "who is known stays"


def test_duplicates_are_merged():
    world = World(detection_interval=1)
    heads = world.see(A, boxes=[box_of(CAMERA, A), box_of(CAMERA, A) + [12, 8, 12, 8]])
    assert ids(heads) == [(1, 0)]


def test_two_tracks_on_one_face_become_one():
    world = World(detection_interval=1000)
    near = A + [0.45, 0.0, 0.0]
    assert len(world.see(A, near)) == 2
    heads = world.see(A, A, boxes=[box_of(CAMERA, A), box_of(CAMERA, A)])
    assert len(heads) == 1 and heads[0].id == nearest(heads, A).id


def test_time_going_backwards_forgets():
    world = World()
    world.see(A)
    assert ids(world.see(A)) == [(1, 0)]
    assert ids(world.see(A, step_s=-50)) == [(2, 0)]
    assert ids(world.see(A, step_s=0)) == [(2, 0)], "the same time again is no jump"


def test_reset_forgets():
    world = World()
    world.see(A)
    world.tracker.reset()
    assert ids(world.see(A)) == [(2, 0)]


def test_after_a_pause_faces_are_looked_for():
    world = World(detection_interval=1000)
    world.see(A)
    world.see(A)
    assert world.detector.calls == 1
    heads = world.see(C, step_s=3)
    assert world.detector.calls == 2
    assert len(heads) == 1 and np.linalg.norm(heads[0].head.translation - C) < 0.02


def test_boxes_from_elsewhere():
    world = World()
    heads = world.see(A, B, boxes=[box_of(CAMERA, A)], scores=[0.8])
    assert len(heads) == 1 and heads[0].head.score == pytest.approx(0.8)
    assert ids(world.see(A, B, boxes=[box_of(CAMERA, B), box_of(CAMERA, A)])) == [(1, 0), (2, 1)]
    assert len(world.see(A, B, boxes=np.zeros((0, 4)))) == 2, "no boxes this time: known heads are followed"
    assert world.detector.calls == 0


def test_without_a_detector_known_heads_are_followed():
    estimator = HeadPoseEstimator(checkpoint(), DiscBackend(), detector=None)
    tracker = HeadTracker(estimator, detection_interval=1)
    image = draw(CAMERA, [A])
    assert tracker.update(image, CAMERA, 0.0) == []
    assert len(tracker.update(image, CAMERA, 0.1, boxes=[box_of(CAMERA, A)])) == 1
    for frame in range(10):
        assert len(tracker.update(image, CAMERA, 0.2 + 0.1 * frame)) == 1


def test_a_zooming_camera_keeps_its_heads():
    """Windows live in rays, not pixels: another focal length from frame to frame loses nobody."""
    world = World(detection_interval=1000)
    world.see(A, B)
    for focal in (520, 580, 640, 560, 480):
        heads = world.see(A, B, camera=CameraModel.pinhole(focal, focal, 319.5, 239.5, 640, 480))
        assert ids(heads) == [(1, 0), (2, 1)]
        assert np.linalg.norm(nearest(heads, B).head.translation - B) < 0.02


def test_an_error_leaves_the_tracks():
    world = World()
    world.see(A)
    with pytest.raises(InputError, match="camera is calibrated"):
        world.tracker.update(np.zeros((10, 10, 3), np.uint8), CAMERA, world.time_s)
    with pytest.raises(InputError, match="stamp is nan"):
        world.tracker.update(draw(CAMERA, [A]), CAMERA, float("nan"))
    with pytest.raises(InputError, match="box 0"):
        world.see(A, boxes=[[5, 5, 5, 5]])
    assert ids(world.see(A)) == [(1, 0)]


@pytest.mark.parametrize("options", [{"detection_interval": 0}, {"max_faces": 0}, {"min_score": 1.5}])
def test_bad_options(options):
    with pytest.raises(InputError, match=next(iter(options))):
        World(**options)
