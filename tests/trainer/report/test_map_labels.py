"""The labels of the map do not overlap, and the colours are the most frequent genres."""

import numpy as np

from cofactor_trainer.report.map_labels import OTHER_GENRES, choose_labels, group_by_genre


def test_a_label_that_would_overlap_an_earlier_one_is_left_out():
    coordinates = np.array([[0, 0], [0.01, 0.001], [1, 1], [0.02, 0.5], [0.97, 0.5]])
    titles = ["Alien (1979)", "Aliens (1986)", "Big (1988)", "Heat (1995)", "Fargo (1996)"]
    assert choose_labels(coordinates, titles, 10) == [True, False, True, True, True]
    assert choose_labels(coordinates, titles, 2) == [True, False, True, False, False]


def test_items_at_one_place_have_one_label():
    assert choose_labels(np.zeros((3, 2)), ["a", "b", "c"], 3) == [True, False, False]


def test_an_item_has_the_colour_of_its_most_frequent_genre():
    genres = [("Drama", "War"), ("Drama",), ("Comedy", "Drama"), ("Comedy",), ("War",), (), ("Western",)]
    groups = group_by_genre(genres, 2)
    assert groups == ["Drama", "Drama", "Drama", "Comedy", OTHER_GENRES, OTHER_GENRES, OTHER_GENRES]
