"""User and item rows take 4 bytes, and no computation with them overflows."""

import numpy as np
import torch

from cofactor_trainer.architectures.batches import rating_batches, rating_tensors, user_batches
from cofactor_trainer.data.dataset import row_counts
from cofactor_trainer.data.duplicates import last_of_each_pair
from cofactor_trainer.data.movielens import load_embedded_small
from cofactor_trainer.data.rating_files import read_ratings
from cofactor_trainer.data.splits import per_user_split, random_split
from tests.support.synthetic import make_dataset


def test_rows_of_files_and_splits_take_4_bytes(tmp_path):
    (tmp_path / "r.csv").write_text("user,item,rating\nann,x,1\nbob,y,2\nann,y,1\nann,y,2\n", encoding="utf-8")
    embedded = load_embedded_small()
    datasets = [read_ratings(tmp_path / "r.csv"), embedded]
    for split in (random_split(embedded), per_user_split(embedded)):
        datasets += [split.train, split.validation]
    for dataset in datasets:
        assert (dataset.user_rows.dtype, dataset.item_rows.dtype) == (np.int32, np.int32)


def test_pairs_of_large_tables_are_distinguished():
    """In 32 bits the number of the pair (user 65,536, item 0) would overflow to that of (user 0, item 0)."""
    n_items = 65_535
    users = np.array([0, 65_536, 98_304, 32_768], np.int32)
    items = np.array([0, 0, 7, 7], np.int32)
    assert last_of_each_pair(users, items, n_items) is None
    again = last_of_each_pair(np.append(users, users[1]), np.append(items, items[1]), n_items)
    assert again.tolist() == [True, False, True, True, True]


def test_row_counts_add_up_over_all_parts():
    rows = np.random.default_rng(0).integers(0, 9, (1 << 20) + 5).astype(np.int32)
    assert row_counts(rows, 11).tolist() == np.bincount(rows, minlength=11).tolist()
    assert row_counts(rows[:0], 2).tolist() == [0, 0]


def test_an_epoch_is_a_permutation_by_torch_with_rows_of_8_bytes():
    columns = rating_tensors(make_dataset(), "cpu")
    torch.manual_seed(7)
    batches = list(rating_batches(*columns, 64))
    torch.manual_seed(7)
    order = torch.randperm(len(columns[0]))
    for number, column in enumerate(columns):
        assert torch.equal(torch.cat([batch[number] for batch in batches]), column[order].to(batches[0][number].dtype))
    for batch in (batches[0], next(user_batches(*columns, 4))):
        assert [column.dtype for column in batch] == [torch.int64, torch.int64, torch.float32]
