"""Who is who: what a head's place and its colours say, and what they may say."""

from types import SimpleNamespace

import numpy as np
import pytest

from trg_ros.tracking.appearance import unlikeness
from trg_ros.tracking.reidentification import Person, who_is_who

LOOK = np.array([[-0.06, 0.22], [0.2, 1.0], [-0.08, -0.5]])


def head(place=(0.1, -0.1, 1.6)):
    return SimpleNamespace(translation=np.array(place), covariance=1e-4 * np.eye(6))


def followed():
    person = Person.of(head(), LOOK, 0.0)
    for frame in range(1, 6):
        person.observe(head(), LOOK, frame / 15)
    return person


@pytest.mark.parametrize(("parts", "is_the_same"), [([], True), ([1], True), ([0, 1], False)])
def test_one_part_of_who_is_followed_may_show_something_else_for_a_moment(parts, is_the_same):
    """Thin hair shows the background when a window shifts by a pixel; what hides a head shows everywhere."""
    look = LOOK.copy()
    look[parts] -= 0.6
    ((who,), _) = who_is_who([followed()], 1, [head()], [look], 6 / 15)
    assert (who == 0) == is_the_same


def test_who_was_away_has_to_look_the_same_in_every_part():
    look = LOOK.copy()
    look[1] -= 0.6
    for seen, expected in ((LOOK, 0), (look, None)):
        ((who,), _) = who_is_who([followed()], 0, [head()], [seen], 6 / 15 + 1.5)
        assert who == expected


def test_what_hides_somebody_is_not_remembered_as_the_persons_look():
    """A hand before the face, or a ghost on what covers it: followed for some images, then lost."""
    person, covered = followed(), LOOK - 0.6
    for frame in range(6, 11):
        person.observe(head(), covered, frame / 15)
    person.lose()
    np.testing.assert_allclose(person.look, LOOK)
    for frame in range(20, 40):
        person.observe(head(), covered, frame / 15)
    assert np.abs(person.look - covered).max() < 0.2  # it was no cover but the light


def test_looks_that_are_alike_speak_for_one_person_and_others_against_it():
    assert unlikeness(LOOK, LOOK) < -5
    assert unlikeness(LOOK, LOOK + 0.6) > 12
    assert unlikeness(LOOK, np.full((3, 2), np.nan)) == 0
    half = LOOK.copy()
    half[1:] = np.nan
    assert unlikeness(LOOK, LOOK) < unlikeness(LOOK, half) < 0
    astray = LOOK + np.array([[0.0], [0.6], [0.0]])
    assert 0 < unlikeness(LOOK, astray, 0.02) < 6 < 12 < unlikeness(LOOK, astray)
