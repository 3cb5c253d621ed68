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
    assert account.longest_ghost_s == pytest.approx(0.1) and account.ghosts == 1
    assert account.summary()["seen"] == pytest.approx(5 / 6, abs=1e-3)


def test_who_is_away_for_long_may_be_back_as_somebody_new_but_not_as_another():
    places, both = np.array([[0.0, 0, 1], [0.6, 0, 1.5]]), np.array([True, True])
    for away_s, identity, expected in ((0.4, 3, 1), (1.0, 3, 0), (1.0, 2, 1)):
        account = Account()
        account.observe(0.0, [seen(1, places[0]), seen(2, places[1])], places, both)
        account.observe(0.1, [seen(1, places[0])], places, np.array([True, False]))
        account.observe(away_s, [seen(identity, places[0])], places, np.array([False, False]))
        account.observe(away_s + 0.05, [seen(identity, places[0])], places, np.array([True, False]))
        summary = account.summary()
        assert summary["switches_clear_mot"] == 1 and summary["switches"] == expected
    assert summary["idf1"] < 1.0


def test_who_hardly_shows_counts_neither_way():
    account, places = Account(), np.array([[0.0, 0, 1]])
    hidden = np.array([False])
    account.observe(0.0, [seen(1, places[0])], places, ~hidden)
    account.observe(0.1, [seen(2, places[0])], places, hidden, noticeable=~hidden)
    account.observe(0.2, [seen(1, places[0])], places, ~hidden)
    assert not account.switches and not account.ghosts and account.summary()["idf1"] == 1.0


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
