"""Sequences with known truth: the account of identities, and rendered people who pass before each other."""

from types import SimpleNamespace

import numpy as np
import pytest

from trg_ros.evaluation.sequences import Account, Crowd


def seen(identity, place):
    return SimpleNamespace(id=identity, head=SimpleNamespace(translation=np.asarray(place, float)))


def test_switches_ghosts_and_late_finds_are_counted():
    account, places = Account(), np.array([[0.0, 0, 1], [0.6, 0, 1.5]])
    both = np.array([True, True])
    account.observe(0.0, [seen(1, places[0])], places, both)
    account.observe(0.1, [seen(1, places[0]), seen(2, places[1] * 1.1)], places, both)
    assert not account.switches and account.late_s == [0.0, pytest.approx(0.1)]
    account.observe(0.2, [seen(2, places[0]), seen(1, places[1])], places, both)
    assert [(one.person, one.before, one.after) for one in account.switches] == [(0, 1, 2), (1, 2, 1)]
    account.observe(0.3, [seen(3, [-0.8, 0, 1])], places, np.array([False, False]))
    assert account.ghost_s[3] == pytest.approx(0.1)
    assert account.summary()["seen"] == pytest.approx(5 / 6, abs=1e-3)


def test_rendered_people_are_where_the_truth_says(shared_dir):
    pytest.importorskip("numba", reason="rendering needs the extra [train]")
    from trg_ros.evaluation.rendered_sequences import CAMERA, RenderedCrowd

    path = shared_dir / "ict_facekit" / "ict_face_model.npz"
    if not path.is_file():
        pytest.skip(f"no packed ICT-FaceKit model at {path}")
    crowd = RenderedCrowd.load(path, 2, 21)
    picture = crowd.picture(0.4)
    assert np.array_equal(picture.image_bgr, crowd.picture(0.4).image_bgr)
    places = Crowd(2, 21).places(0.4)
    np.testing.assert_allclose(picture.camera_T_head[:, :3, 3], places)
    pixels = CAMERA.project(places)
    inside = ((pixels > 40) & (pixels < [CAMERA.width - 40, CAMERA.height - 40])).all(axis=1)
    assert (picture.shows[inside] > 0.7).any() and (picture.shows <= 1).all()
    covered = Crowd(2, 21).covered(1.2)
    assert crowd.picture(1.2).shows[covered] == 0.0
