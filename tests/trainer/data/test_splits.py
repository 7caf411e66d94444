"""Splits: the published protocol, and no leak of held-out ratings into the train part."""

import numpy as np
import pytest

from cofactor_trainer.data.splits import random_split, split_by_mask
from cofactor_trainer.errors import InputError
from tests.support.synthetic import make_dataset


@pytest.fixture(scope="module")
def dataset():
    return make_dataset()


def test_the_first_fifth_of_the_permutation_validates(dataset):
    split = random_split(dataset, 0.2, seed=43)
    expected = np.sort(np.random.RandomState(43).permutation(dataset.n_ratings)[: int(dataset.n_ratings * 0.2)])
    np.testing.assert_array_equal(split.validation.ratings, dataset.ratings[expected])
    assert split.train.n_ratings + split.validation.n_ratings == dataset.n_ratings


def test_ids_keep_their_ratings_and_ids_without_train_ratings_are_unknown(dataset):
    is_train = dataset.item_rows != 3
    split = split_by_mask(dataset, ~is_train)
    dropped = dataset.catalogue.item_ids[3]
    assert dropped not in split.train.catalogue.item_ids
    assert (split.validation.item_rows == split.train.n_items).all()
    assert list(split.train.user_ids) == sorted(split.train.user_ids)
    for part, mask in ((split.train, is_train), (split.validation, ~is_train)):
        users = [*split.train.user_ids, None]
        names = {dataset.user_ids[row] for row in dataset.user_rows[is_train]}
        expected = [u if (u := dataset.user_ids[row]) in names else None for row in dataset.user_rows[mask]]
        assert [users[row] for row in part.user_rows] == expected


def test_a_split_with_an_empty_part_is_refused(dataset):
    with pytest.raises(InputError, match="--validation-fraction"):
        random_split(dataset, 0.0001)
