"""An unusable table of events gives one clear line that locates it and says what to do, and exit code 2."""

import pytest

from cofactor_trainer.__main__ import main

GOOD = """user,item,event,count,time
ann,shoe,view,1,1700000000
ann,hat,purchase,2,1700000100
bob,shoe,cart,1,1700000200
bob,hat,view,1,1700000300
"""
PLAIN = "user,item\nann,shoe\nbob,hat\nann,hat\n"


def with_line(line):
    """Return the events with one more line, the third."""
    lines = GOOD.splitlines(keepends=True)
    return "".join([*lines[:2], line + "\n", *lines[2:]])


BOTH = (
    "user,item,rating,event,time\nann,shoe,,view,1700000000\nann,hat,,view,1700000001\nbob,hat,,view,1700000002\n"
    "bob,shoe,5,buy,1700000003\nann,hat,3,buy,1700000004\nann,shoe,2,buy,1700000005\n"
)
CASES = {
    "no user": (with_line(",hat,view,1,1700000000"), [], ["line 3", "column user", "the id is missing"]),
    "no item": (with_line("cid, ,view,1,1700000000"), [], ["line 3", "column item", "the id is missing"]),
    "no type": (with_line("cid,hat,,1,1700000000"), [], ["line 3", "column event", "the event type is missing"]),
    "no count": (with_line("cid,hat,view,,1700000000"), [], ["line 3", "column count", "the value is missing"]),
    "count in words": (
        with_line("cid,hat,view,two,1700000000"),
        [],
        ["line 3", "column count", "'two' is not a number"],
    ),
    "negative count": (
        with_line("cid,hat,view,-2,1700000000"),
        [],
        ["line 3", "column count", "-2 is not a count above 0", "--negative-events"],
    ),
    "count of NaN": (with_line("cid,hat,view,nan,1700000000"), [], ["line 3", "column count", "nan is not a count"]),
    "no time": (with_line("cid,hat,view,1,"), [], ["line 3", "column time", "the value is missing", "--columns"]),
    "time in words": (with_line("cid,hat,view,1,soon"), [], ["line 3", "column time", "'soon' is neither a date"]),
    "too few fields": (with_line("cid,hat"), [], ["line 3", "the line has 2 fields, but it must have 5"]),
    "empty": ("", [], ["the file is empty"]),
    "header only": ("user,item,event\n", [], ["the file has no events"]),
    "one user": ("user,item\nann,shoe\nann,hat\n", [], ["all events are by one user ('ann')"]),
    "one item": ("user,item\nann,shoe\nbob,shoe\n", [], ["all events are of one item ('shoe')"]),
    "a type that is not there": (
        GOOD,
        ["--events", "purchase=5,cart=1,view=1,like=3"],
        ["no event has the type 'like'", "cart (1), purchase (2), view (2)"],
    ),
    "a negative type that is not there": (GOOD, ["--negative-events", "return"], ["no event has the type 'return'"]),
    "a type without weight": (
        GOOD,
        ["--events", "purchase=5,cart=2"],
        ["no weight for the type 'view'", "cart (1), purchase (2), view (2)", "0 to leave it out"],
    ),
    "wanted and not": (
        GOOD,
        ["--events", "view=1,cart=1,purchase=1", "--negative-events", "view"],
        ["'view' is in --events and in --negative-events"],
    ),
    "only weights of 0": (GOOD, ["--events", "view=0,cart=0,purchase=0"], ["weighs all types 0"]),
    "only negative types": (GOOD, ["--negative-events", "view,cart,purchase"], ["all types are negative"]),
    "types of a table without types": (PLAIN, ["--events", "buy=1"], ["no column of event types", "event=NAME"]),
    "half-life without times": (PLAIN, ["--half-life", "90d"], ["--half-life needs times", "--columns"]),
    "split by time without times": (PLAIN, ["--split", "time"], ["has no timestamps", "--split random"]),
    "ratings and events": (
        "user,item,rating,event\nann,shoe,4,view\nbob,hat,3,view\n",
        [],
        ["both ratings (column rating) and events (column event)", "--feedback both", "--feedback events"],
    ),
    "both, without ratings": (PLAIN, ["--feedback", "both"], ["no column 'rating' for the rating", "rating=NAME"]),
    "both, with no rating in the column": (
        "user,item,rating,event\nann,shoe,,view\nbob,hat,,view\n",
        ["--feedback", "both"],
        ["no row has a rating", "--feedback events"],
    ),
    "both, with ratings of one value": (
        "user,item,rating,event\nann,shoe,4,view\nbob,hat,4,view\n",
        ["--feedback", "both"],
        ["all ratings are 4", "--feedback events"],
    ),
    "both, with a word for a rating": (
        "user,item,rating,event\nann,shoe,4,view\nbob,hat,good,view\n",
        ["--feedback", "both"],
        ["line 3", "'good' is not a rating"],
    ),
    "both, off the scale": (BOTH, ["--feedback", "both", "--scale", "1,4"], ["from 2 to 5, outside", "--scale"]),
    "both, with a recipe that ranks": (BOTH, ["--feedback", "both", "--recipe", "ranking"], ["--recipe dot-bias"]),
    "both, without a ranking part": (
        BOTH,
        ["--feedback", "both", "--no-ranking-part"],
        ["needs a ranking part", "--feedback ratings"],
    ),
    "both, with a threshold": (BOTH, ["--feedback", "both", "--positive-from", "4"], ["they are to be predicted"]),
    "both, with all ratings held out": (
        BOTH,
        ["--feedback", "both", "--split", "time", "--validation-fraction", "0.5"],
        ["all rows of events.csv that have ratings are in one part"],
    ),
    "a rating of another name": (
        "user,item,mark\nann,shoe,4\nbob,hat,3\n",
        [],
        ["no column 'rating'", "--columns", "--feedback events"],
    ),
    "ratings of one value": (
        "user,item,rating\nann,shoe,1\nbob,hat,1\n",
        [],
        ["all ratings are 1", "clicks, plays or purchases", "--feedback events"],
    ),
    "columns of ratings": (PLAIN, ["--feedback", "events", "--columns", "user,item,x"], ["user=NAME,item=NAME"]),
    "an unknown column": (PLAIN, ["--columns", "user=user,item=item,time=when"], ["no column 'when' for the time"]),
    "a column of nothing": (
        PLAIN,
        ["--columns", "user=user,item=item,price=cost"],
        ["has 'price'", "event, count and"],
    ),
    "half of the columns": (PLAIN, ["--columns", "user=user"], ["does not name both user and item"]),
    "a scale": (PLAIN, ["--scale", "1,5"], ["--scale is for ratings"]),
    "a recipe of ratings": (PLAIN, ["--recipe", "dot-bias"], ["dot-bias predicts ratings", "leave out --recipe"]),
    "weights of ratings": (
        "user,item,rating\nann,shoe,1\nbob,hat,2\n",
        ["--half-life", "90d"],
        ["--half-life does not apply to the ratings", "--feedback events"],
    ),
    "a threshold above all ratings": (
        "user,item,rating\nann,shoe,1\nbob,hat,2\n",
        ["--positive-from", "4"],
        ["--positive-from is 4, but the ratings", "go from 1 to 2"],
    ),
    "types of ratings": (
        "user,item,rating\nann,shoe,1\nbob,hat,2\n",
        ["--positive-from", "2", "--events", "a=1"],
        ["--events does not apply to ratings with --positive-from"],
    ),
    "events of MovieLens": ("", ["--dataset", "ml-latest-small", "--feedback", "events"], ["--positive-from 4"]),
}


@pytest.mark.parametrize("case", CASES)
def test_unusable_events_are_one_line_and_exit_code_2(case, tmp_path, capsys):
    text, flags, expected = CASES[case]
    path = tmp_path / "events.csv"
    path.write_text(text, encoding="utf-8")
    output = str(tmp_path / "models")
    assert main(["train", "--output", output, "--epochs", "1", "--dataset", str(path), *flags]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1, message
    assert message.startswith("error: ")
    for words in expected:
        assert words in message
    assert not (tmp_path / "models").exists() or not any((tmp_path / "models").rglob("manifest.json"))


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--events", "purchase"], "'purchase' is not a type with its weight, as in purchase=5"),
        (["--events", "purchase=many"], "'purchase=many' is not a type with its weight"),
        (["--events", "purchase=-1"], "'purchase=-1' is not a type with its weight"),
        (["--events", "a=1,a=2"], "the type 'a' has two weights"),
        (["--negative-events", "a,,b"], "'a,,b' is not a list of event types"),
        (["--half-life", "90"], "'90' is not a duration above 0 such as 90d"),
        (["--half-life", "0d"], "'0d' is not a duration above 0"),
        (["--weight-cap", "few"], "'few' is not a number above 0, or 0 for no limit"),
        (["--positive-from", "nan"], "'nan' is not a rating such as 4"),
    ],
)
def test_flags_that_cannot_be_read_say_why(flags, expected, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["train", *flags])
    assert stopped.value.code == 2
    assert expected in capsys.readouterr().err
