"""Unusable input gives one clear line that locates it, and exit code 2."""

import errno
import gzip
import re

import pytest

from cofactor_trainer.__main__ import main

GOOD = "user_id,item_id,rating\nann,film,4\nann,book,3\nbob,film,5\nbob,song,1\ncid,book,2\n"


def with_line(line):
    """Return the ratings with one more line, the fourth."""
    lines = GOOD.splitlines(keepends=True)
    return "".join([*lines[:3], line + "\n", *lines[3:]])


CASES = {
    "missing column": (GOOD.replace("rating", "mark"), [], ["line 1", "no column 'rating'", "user_id, item_id, mark"]),
    "not a number": (with_line("dan,film,good"), [], ["line 4", "column rating", "'good' is not a number"]),
    "NaN": (with_line("dan,film,nan"), [], ["line 4", "column rating", "nan is not a rating"]),
    "infinite": (with_line("dan,film,inf"), [], ["line 4", "column rating", "inf is not a rating"]),
    "no rating": (with_line("dan,film,"), [], ["line 4", "column rating", "the value is missing"]),
    "no user": (with_line(",film,4"), [], ["line 4", "column user_id", "the id is missing"]),
    "no item": (with_line("dan,  ,4"), [], ["line 4", "column item_id", "the id is missing"]),
    "too few fields": (with_line("dan,film"), [], ["line 4", "the line has 2 fields, but it must have 3"]),
    "too many fields": (with_line("dan,film,4,5"), [], ["line 4", "the line has 4 fields, but it must have 3"]),
    "a quote that never ends": (with_line('dan,"film,4'), [], ["line 4", "the line has 2 fields, but it must have 3"]),
    "line after a quoted line break": (with_line('"d\nan",film,x'), [], ["line 4", "'x' is not a number"]),
    "empty": ("", [], ["the file is empty"]),
    "header only": ("user_id,item_id,rating\n", [], ["the file has no ratings"]),
    "one user": ("user_id,item_id,rating\nann,film,4\nann,book,3\n", [], ["all ratings are by one user ('ann')"]),
    "one item": ("user_id,item_id,rating\nann,film,4\nbob,film,3\n", [], ["all ratings are of one item ('film')"]),
    "all equal": ("user_id,item_id,rating\nann,film,4\nbob,book,4\n", [], ["all ratings are 4", "nothing to learn"]),
    "two columns of one name": (
        GOOD.replace("item_id", "rating"),
        [],
        ["line 1", "two columns have the name 'rating'"],
    ),
    "range too small": (
        GOOD,
        ["--rating-range", "0,0.5"],
        ["rating range 0 to 0.5", "go from 1 to 5", "--rating-range"],
    ),
    "range upside down": (GOOD, ["--rating-range", "5,1"], ["rating range 5 to 1 is empty"]),
    "range no numbers": (GOOD, ["--rating-range", "few"], ["--rating-range", "'few' is not two numbers"]),
    "mistaken published range": (GOOD, ["--recipe", "p11"], ["rating range 0 to 0.5 of recipe p11"]),
    "off the scale": (GOOD, ["--scale", "1,3"], ["go from 1 to 5, outside the scale of 1 to 3", "--scale"]),
    "no such recipe": (GOOD, ["--recipe", "bset"], ["there is no recipe 'bset'", "dot-bias"]),
    "no such encoding": (GOOD, ["--encoding", "utf8000"], ["--encoding 'utf8000' is unknown", "latin-1"]),
    "no such device": (GOOD, ["--device", "abacus"], ["--device abacus cannot be used here", "--device cpu"]),
    "no such column named": (GOOD, ["--columns", "user_id,item_id,stars"], ["no column 'stars'"]),
    "columns misspelt": (GOOD, ["--columns", "user_id"], ["--columns is 'user_id'", "USER,ITEM,RATING"]),
    "everything held out": (GOOD, ["--validation-fraction", "1"], ["--validation-fraction is 1", "below 1"]),
    "too few to hold out": (GOOD, ["--validation-fraction", "0.01"], ["change --validation-fraction"]),
    "no epochs": (GOOD, ["--epochs", "0"], ["epochs is 0"]),
    "no factors": (GOOD, ["--factors", "0"], ["n_factors is 0"]),
    "negative learning rate": (GOOD, ["--learning-rate", "-1"], ["learning_rate is -1"]),
    "negative weight decay": (GOOD, ["--weight-decay", "-1"], ["weight_decay is -1"]),
    "no such items file": (GOOD, ["--items", "nowhere.csv"], ["nowhere.csv", "no such file"]),
    "diverging": (GOOD, ["--recipe", "p1", "--learning-rate", "1e30", "--epochs", "9"], ["lower the learning rate"]),
    "bad model name": (GOOD, ["--name", "../up"], ["'../up'"]),
}


def run(tmp_path, *arguments):
    return main(["train", "--output", str(tmp_path / "models"), "--epochs", "1", *arguments])


@pytest.mark.parametrize("case", CASES)
def test_unusable_input_is_one_line_and_exit_code_2(case, tmp_path, capsys):
    text, flags, expected = CASES[case]
    path = tmp_path / "ratings.csv"
    path.write_text(text, encoding="utf-8")
    assert run(tmp_path, "--dataset", str(path), *flags) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1, message
    assert message.startswith("error: ")
    for words in expected:
        assert words in message
    assert not (tmp_path / "models").exists() or not any((tmp_path / "models").rglob("manifest.json"))


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
def test_a_wrong_encoding_is_located_by_byte_and_line(suffix, tmp_path, capsys):
    path = tmp_path / f"ratings{suffix}"
    content = with_line("zoë,film,4").encode("latin-1")
    path.write_bytes(gzip.compress(content) if suffix.endswith(".gz") else content)
    assert run(tmp_path, "--dataset", str(path)) == 2
    message = capsys.readouterr().err
    assert f"the byte at offset {content.index(0xEB)} is not utf-8" in message
    assert "line 4" in message
    assert "--encoding" in message


def test_a_missing_file_and_a_directory_without_ratings_are_refused(tmp_path, capsys):
    assert run(tmp_path, "--dataset", str(tmp_path / "none.csv")) == 2
    assert "none.csv: no such file" in capsys.readouterr().err
    assert run(tmp_path, "--dataset", str(tmp_path)) == 2
    assert "not a MovieLens directory" in capsys.readouterr().err


def test_a_file_that_is_not_parquet_is_refused(tmp_path, capsys):
    path = tmp_path / "ratings.parquet"
    path.write_text(GOOD, encoding="utf-8")
    assert run(tmp_path, "--dataset", str(path)) == 2
    assert "not a Parquet file" in capsys.readouterr().err


def test_an_existing_version_is_refused_before_training(tmp_path, capsys):
    path = tmp_path / "ratings.csv"
    path.write_text(GOOD, encoding="utf-8")
    (tmp_path / "models" / "m" / "1").mkdir(parents=True)
    assert run(tmp_path, "--dataset", str(path), "--name", "m", "--version", "1") == 2
    streams = capsys.readouterr()
    assert "version 1 of model m exists" in streams.err
    assert "epoch" not in streams.out


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--name", "Shop"], "model name 'Shop': use lower-case letters"),
        (["--name", ""], "model name '': use lower-case letters"),
        (["--version", "v 1"], "version 'v 1': use letters"),
        (["--version", ""], "version '': use letters"),
    ],
)
def test_invalid_names_are_refused_before_training(flags, expected, tmp_path, capsys):
    path = tmp_path / "ratings.csv"
    path.write_text(GOOD, encoding="utf-8")
    assert run(tmp_path, "--dataset", str(path), *flags) == 2
    streams = capsys.readouterr()
    assert expected in streams.err
    assert "epoch" not in streams.out


def test_an_output_that_cannot_be_written_is_refused_before_training(tmp_path, capsys):
    path = tmp_path / "ratings.csv"
    path.write_text(GOOD, encoding="utf-8")
    output = path / "models"  # below a file, where not even root can create a directory
    assert main(["train", "--output", str(output), "--epochs", "1", "--dataset", str(path)]) == 2
    streams = capsys.readouterr()
    assert re.fullmatch(r"error: .*dot-bias: versions cannot be written here \(.*\): .*--output\n", streams.err)
    assert "epoch" not in streams.out


def test_a_read_only_output_is_refused_before_training(tmp_path, capsys, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied")

    path = tmp_path / "ratings.csv"
    path.write_text(GOOD, encoding="utf-8")
    (tmp_path / "models" / "dot-bias").mkdir(parents=True)
    monkeypatch.setattr("tempfile.mkdtemp", refuse)  # a file mode would not stop root
    assert run(tmp_path, "--dataset", str(path)) == 2
    streams = capsys.readouterr()
    assert "versions cannot be written here (Permission denied)" in streams.err
    assert "epoch" not in streams.out


@pytest.mark.parametrize("command", ["train", "evaluate", "lr-find", "search"])
@pytest.mark.parametrize("flag", ["--seed", "--split-seed"])
@pytest.mark.parametrize("seed", ["-1", "4294967296", "100000000000000", "1.5", "many"])
def test_a_seed_outside_the_range_is_refused(command, flag, seed, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([command, flag, seed])
    assert stopped.value.code == 2
    assert f"argument {flag}: {seed!r} is not a whole number from 0 to 4294967295" in capsys.readouterr().err


def test_the_largest_seeds_train(tmp_path):
    path = tmp_path / "ratings.csv"
    path.write_text(GOOD, encoding="utf-8")
    flags = ["--dataset", str(path), "--recipe", "p5", "--epochs", "1", "--device", "cpu"]
    assert main(["evaluate", *flags, "--seed", "4294967295", "--split-seed", "4294967295"]) == 0
