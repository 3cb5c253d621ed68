"""Identities over time of people who cross, hide each other and leave, against the truth."""

import pytest
from people import CAMERA, People, estimator

from trg_ros.evaluation.sequences import Account
from trg_ros.tracking import HeadTracker

RATE_HZ = 15


def follow(people, seconds, seed):
    """Run the tracker and compare with the truth."""
    network, backend, detector = estimator(seed)
    tracker, account = HeadTracker(network, detection_interval=5, max_faces=8), Account()
    for frame in range(int(seconds * RATE_HZ)):
        time_s = frame / RATE_HZ
        places, noticeable = people.places(time_s), people.noticeable(time_s)
        backend.heads = detector.heads = places[noticeable]
        found = tracker.update(people.picture(time_s), CAMERA, time_s)
        account.observe(time_s, found, places, people.visible(time_s), noticeable)
    return account


@pytest.mark.parametrize(("count", "mistakes"), [(2, 0), (4, 0), (6, 1)])
def test_nobody_is_taken_for_somebody_else(count, mistakes, record_property):
    """Half a minute for each number of people: all who pass behind others, half a second of cover.

    Among the six, one comes out from behind others where somebody else was lost, and nothing of it is clear.
    """
    account = follow(People(count, seed=count), seconds=30, seed=10 + count)
    summary = account.summary()
    for name, value in summary.items():
        record_property(name, value)
    assert summary["switches"] <= mistakes
    assert summary["seen"] > 0.96
    assert summary["found_within_s_95"] < 0.3
    assert summary["longest_ghost_s"] <= 0.5
