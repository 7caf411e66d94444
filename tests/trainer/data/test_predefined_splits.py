"""Predefined splits: from a second file, from a column, and by the names that MovieLens has for them."""

import json
import os
from pathlib import Path

import pytest

from cofactor_trainer.__main__ import main
from cofactor_trainer.data.movielens import load_100k, load_folder
from cofactor_trainer.data.rating_files import PredefinedParts, read_ratings
from cofactor_trainer.data.splits import predefined_split
from cofactor_trainer.errors import InputError
from tests.trainer.data.test_movielens import DAT, ML_100K, USERS_1M, write

HEADER = "user_id,item_id,rating,part\n"
TRAIN = ("ann,film,4", "ann,book,3", "bob,film,5", "bob,book,2")
HELD_OUT = ("ann,song,2", "cid,film,1", "bob,film,4")
ML100K = os.environ.get("COFACTOR_ML100K", "")


def table(path, **lines_of_part):
    lines = [f"{line},{part}" for part, lines in lines_of_part.items() for line in lines]
    path.write_text(HEADER + "\n".join(lines) + "\n", encoding="utf-8")
    return path


def named(ratings, split):
    """Return user, item and rating of every rating; an unknown user or item is None."""
    users, items = [*split.train.user_ids, None], [*split.train.catalogue.item_ids, None]
    rows = zip(ratings.user_rows, ratings.item_rows, ratings.ratings.tolist(), strict=True)
    return [(users[user], items[item], rating) for user, item, rating in rows]


def check_parts(split):
    assert named(split.train, split) == [
        ("ann", "film", 4),
        ("ann", "book", 3),
        ("bob", "film", 5),
        ("bob", "book", 2),
    ]
    # The train part has no song and no cid.
    assert named(split.validation, split) == [("ann", None, 2), (None, "film", 1), ("bob", "film", 4)]


@pytest.mark.parametrize("words", [("train", "test"), ("Base", "Validation"), ("0", "1"), ("false", "true")])
def test_a_column_says_which_ratings_are_held_out(tmp_path, words):
    path = table(tmp_path / "ratings.csv", **{words[0]: TRAIN, words[1]: HELD_OUT})
    check_parts(predefined_split(read_ratings(path, parts=PredefinedParts("part"))))


def test_one_value_of_a_column_is_held_out(tmp_path):
    path = table(tmp_path / "ratings.csv", **{"1": TRAIN[:2], "2": HELD_OUT, "3": TRAIN[2:]})
    check_parts(predefined_split(read_ratings(path, parts=PredefinedParts("part", "2"))))


def test_a_file_has_the_held_out_ratings(tmp_path):
    path = table(tmp_path / "train.csv", x=TRAIN)
    held_out = table(tmp_path / "test.csv", x=HELD_OUT)
    check_parts(predefined_split(read_ratings(path, parts=PredefinedParts(path=held_out))))


def test_a_rating_in_both_parts_stays_in_both_and_is_reported(tmp_path, caplog):
    path = table(tmp_path / "ratings.csv", train=TRAIN, test=HELD_OUT)
    dataset = read_ratings(path, parts=PredefinedParts("part"))
    assert dataset.n_ratings == 7
    assert "1 held-out ratings are of a user and an item that are also in the train part" in caplog.text


def test_a_repeated_rating_of_one_part_counts_once(tmp_path):
    path = table(tmp_path / "ratings.csv", train=(*TRAIN, "ann,film,1"), test=(*HELD_OUT, "ann,song,5"))
    split = predefined_split(read_ratings(path, parts=PredefinedParts("part")))
    assert ("ann", "film", 1) in named(split.train, split)
    assert (split.train.n_ratings, split.validation.n_ratings) == (4, 3)


@pytest.mark.parametrize("files", [DAT, {**DAT, **USERS_1M}])
def test_a_folder_of_1m_or_10m_has_the_files_of_its_splits(tmp_path, files):
    parts = {"ra.train": "1::10::5::7\n2::3::2::9\n", "ra.test": "2::10::1::8\n"}
    split = predefined_split(load_folder(write(tmp_path, {**files, **parts}), split_name="ra"))
    assert named(split.validation, split) == [("2", "10", 1)]
    assert split.train.held_out_by.startswith("split ra of MovieLens 1")


def test_a_folder_of_100k_has_the_files_of_its_splits(tmp_path):
    parts = {"u2.base": "1\t10\t5\t7\n2\t3\t2\t9\n", "u2.test": "2\t11\t1\t8\n"}
    dataset = load_folder(write(tmp_path, {**ML_100K, **parts}), by_title=True, split_name="u2")
    split = predefined_split(dataset)
    assert named(split.validation, split) == [("2", "10", 1)]


@pytest.mark.skipif(not ML100K, reason="COFACTOR_ML100K is not set")
def test_the_splits_of_100k_are_those_of_its_script():
    # The numbers of users in the published u1.test to u5.test.
    users = []
    for name in ("u1", "u2", "u3", "u4", "u5"):
        dataset = load_100k(Path(ML100K), split_name=name)
        assert dataset.held_out.sum() == 20_000
        users.append(len(set(dataset.user_rows[dataset.held_out].tolist())))
        if name == "u1":
            held_out = dataset.select_ratings(dataset.held_out)
            of_user_1 = held_out.item_rows[held_out.user_rows == dataset.user_ids.index("1")]
            first = sorted(int(dataset.catalogue.item_ids[row]) for row in of_user_1)[:6]
    assert users == [459, 653, 869, 923, 927]
    assert first == [6, 10, 12, 14, 17, 20]


def test_blocks_of_another_file_than_the_published_one_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"split u1 is a block of lines .* 100,000 ratings, but this one has 3"):
        load_folder(write(tmp_path, ML_100K), split_name="u1")


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        (["--split", "predefined"], ["does not say which ratings are held out", "--validation-ratings FILE"]),
        (["--split-column", "part"], ["--split-column does not apply to --split random"]),
        (["--split", "predefined", "--split-column", "fold"], ["line 1", "no column 'fold'"]),
        (["--split", "predefined", "--split-column", "part"], ["line 6, column part", "'later' is neither train nor"]),
        (["--split", "predefined", "--split-name", "u1"], ["--split-name does not apply to the file"]),
        (
            ["--split", "predefined", "--split-column", "part", "--split-name", "u1"],
            ["--split-column and --split-name"],
        ),
        (["--split", "predefined", "--validation-ratings", "none.csv"], ["none.csv", "no such file"]),
        (
            ["--split", "predefined", "--split-column", "part", "--held-out-value", "never"],
            ["no ratings held out, by column part where it is never"],
        ),
        (
            ["--split", "predefined", "--split-column", "part", "--held-out-value", "later", "--folds", "2"],
            ["--folds makes splits of its own"],
        ),
    ],
)
def test_a_wrong_split_is_one_line_that_says_where_and_what_to_do(tmp_path, capsys, flags, parts):
    path = table(tmp_path / "ratings.csv", train=TRAIN, later=HELD_OUT)
    assert main(["evaluate", "--dataset", str(path), *flags]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert all(part in error for part in parts), error


def test_a_bad_rating_in_the_held_out_file_names_that_file_and_line(tmp_path, capsys):
    path = table(tmp_path / "train.csv", x=TRAIN)
    held_out = table(tmp_path / "test.csv", x=(*HELD_OUT, "ann,film,good"))
    words = ["--dataset", str(path), "--split", "predefined", "--validation-ratings", str(held_out)]
    assert main(["evaluate", *words]) == 2
    assert f"{held_out}, line 5, column rating: 'good' is not a number" in capsys.readouterr().err


def test_evaluate_prints_the_protocol_of_its_figures(tmp_path, capsys):
    path = table(tmp_path / "ratings.csv", train=(*TRAIN, "cal,tale,3"), test=HELD_OUT)
    words = ["evaluate", "--dataset", str(path), "--recipe", "fast", "--epochs", "1", "--device", "cpu", "--top", "1"]
    words += ["--split", "predefined", "--split-column", "part"]
    assert main(words) == 0
    output = capsys.readouterr().out
    assert "protocol: 3 of 8 ratings, held out by column part; trained on the other 5 with seed 42" in output
    assert "errors: all 3 held-out ratings, 1 of them by unknown users and 1 of unknown items" in output
    assert "ranking: the first 1 of all items that the user has not rated in the train part (3 items)" in output
    assert "relevant from a rating of 4; mean of 1 users with a relevant item" in output
    assert main([*words, "--json"]) == 0
    protocol = json.loads(capsys.readouterr().out)["protocol"]
    assert (protocol["held_out"], protocol["n_held_out"], protocol["k"]) == ("held out by column part", 3, 1)


def test_train_says_which_split_its_metrics_are_of(tmp_path, capsys):
    path = table(tmp_path / "ratings.csv", train=TRAIN, test=HELD_OUT)
    words = ["--dataset", str(path), "--recipe", "fast", "--epochs", "1", "--device", "cpu", "--factors", "2"]
    words += ["--output", str(tmp_path / "models"), "--split", "predefined", "--split-column", "part"]
    assert main(words) == 0
    assert "metrics: measured on 3 of 7 ratings, held out by column part; the exported" in capsys.readouterr().out
