"""Reasons: similar ratings that move a score in the same direction become one."""

from __future__ import annotations

import numpy as np

from cofactor_server.ranking.directions import split_vector
from cofactor_server.ranking.reasons import group_reasons

# Two kinds of films, and one film between them.
VECTORS = np.array([[1, 0], [1, 0], [0, 1], [0, 1], [0, 1]], dtype=np.float32)


def test_similar_ratings_join_the_one_that_contributes_most():
    contributions = np.array([1.0, 2.0, -0.5, 0.25, -1.0])
    reasons, others = group_reasons(contributions, VECTORS, 5)
    assert [(r.position, r.contribution, r.own_contribution, r.n_similar) for r in reasons] == [
        (1, 3.0, 2.0, 1),
        (4, -1.5, -1.0, 1),  # not the rating that pulls the other way
        (3, 0.25, 0.25, 0),
    ]
    assert len(others) == 0


def test_what_is_in_no_reason_is_counted_as_other():
    contributions = np.array([1.0, 2.0, -0.5, 0.25, -1.0])
    reasons, others = group_reasons(contributions, VECTORS, 1)
    assert [reason.position for reason in reasons] == [1]
    assert others.tolist() == [2, 3, 4]
    assert group_reasons(np.zeros(0), VECTORS[:0], 3)[0] == []


def test_items_without_a_direction_are_reasons_of_their_own():
    reasons, _ = group_reasons(np.array([1.0, 2.0]), np.zeros((2, 3), np.float32), 5)
    assert [(reason.position, reason.n_similar) for reason in reasons] == [(1, 0), (0, 0)]


def test_a_vector_is_split_into_small_multiples_of_directions_near_it():
    random = np.random.default_rng(2)
    directions = random.normal(size=(30, 4))
    vector = random.normal(size=4)
    multiples = split_vector(vector, directions)
    assert np.linalg.norm(vector - multiples @ directions) < 0.05 * np.linalg.norm(vector)
    assert np.linalg.norm(multiples) < np.linalg.norm(vector)
    assert split_vector(vector, np.zeros((3, 4))).tolist() == [0, 0, 0]
    assert split_vector(vector, np.zeros((0, 4))).tolist() == []
