"""`cofactor-train update` publishes what is good enough, says what it did, and leaves a valid repository behind."""

import fcntl
import json
import os
import signal
import subprocess
import sys

import pytest

from cofactor_server.repository.serving_policy import parse_policy
from cofactor_trainer.__main__ import main
from cofactor_trainer.export.publish import publish_version
from cofactor_trainer.export.version_reader import read_version
from cofactor_trainer.refresh.repository_lock import LOCK_FILE
from tests.trainer.refresh.growing_films import rows_of, unrated_rows, write_table

# Files of the folder of a model that the tests begin with.
BEFORE = {"1"}


@pytest.fixture
def update(repository, tmp_path, capsys):
    """Run the command with the first ratings and later batches -> exit code, line of JSON, messages."""

    def run(*flags, table=None):
        capsys.readouterr()
        flags = ("--repository", str(repository), "--model", "films", *flags)
        status = main(["update", *flags, *(() if table is None else ("--data", str(table)))])
        printed = capsys.readouterr()
        lines = printed.out.splitlines()
        assert len(lines) <= 1
        return status, json.loads(lines[0]) if lines else None, printed.err

    return run


@pytest.fixture(scope="module")
def tables(first, tmp_path_factory):
    """Tables by name: nothing new; news that go on in the held-out half; news that the held-out half contradicts."""
    folder, (model, dataset) = tmp_path_factory.mktemp("tables"), first
    old = rows_of(dataset)
    shifted = unrated_rows(model, dataset, per_user=12, shift=1.0)
    honest = unrated_rows(model, dataset, per_user=12, shift=0.0)
    opposite = [(user, item, 5.5 - round(rating)) for user, item, rating in honest[::2]]
    return {
        "same": write_table(folder / "same.csv", old),
        "few": write_table(folder / "few.csv", old, shifted[:6]),
        "good": write_table(folder / "good.csv", old, shifted[::2], shifted[1::2]),
        "bad": write_table(folder / "bad.csv", old, opposite, honest[1::2]),
    }


def versions_in(repository):
    return {path.name for path in (repository / "films").iterdir() if not path.name.startswith(".")}


def test_a_good_update_becomes_the_canary_and_the_running_version_stays_stable(update, repository, tables):
    status, line, messages = update("--version", "2", "--canary-percent", "7", table=tables["good"])
    assert status == 0, messages
    assert (line["result"], line["running"], line["version"]) == ("published", "1", "2")
    assert (line["label"], line["canary_percent"], line["embedding_space"]) == ("canary", 7, "kept")
    assert line["changes"] == {"added": 468, "changed": 0, "removed": 0, "new_users": 0, "new_items": 0}
    mse = line["judgement"]["measures"]["mse"]
    assert line["judgement"]["better"]
    assert mse["interval"][0] <= mse["difference"] <= mse["interval"][1] < 0
    policy = parse_policy((repository / "films" / "serving.json").read_text(encoding="utf-8"))
    assert (dict(policy.labels), dict(policy.canary_percent)) == ({"stable": "1", "canary": "2"}, {"canary": 7})
    manifest = read_version(repository / "films" / "2").manifest
    assert (manifest.warm_started_from, manifest.rating_count) == ("1", 468 + 468)
    # The same data again: the stable version has not learnt it, and a further canary takes the place of the first.
    status, line, _ = update("--dry-run", table=tables["good"])
    assert (status, line["result"], line["version"]) == (0, "would-publish", None)
    assert versions_in(repository) == {"1", "2", "serving.json"}


def test_an_update_that_is_worse_is_not_published(update, repository, tables):
    status, line, _ = update(table=tables["bad"])
    assert (status, line["result"], line["version"]) == (3, "not-better", None)
    assert line["judgement"]["measures"]["mse"]["interval"][0] > 0
    assert versions_in(repository) == BEFORE


def test_without_news_or_with_too_few_to_judge_nothing_happens(update, repository, tables):
    for table, added in (("same", 0), ("few", 6)):
        status, line, _ = update(table=tables[table])
        assert (status, line["result"], line["changes"]["added"]) == (5, "nothing-new", added)
    assert versions_in(repository) == BEFORE


def test_if_it_must_be_better_an_update_that_changes_little_is_not_published(update, tables):
    status, line, _ = update("--require", "better", "--min-judged", "3", table=tables["few"])
    assert (status, line["result"], line["judgement"]["accepted"]) == (3, "not-better", True)


def test_a_second_update_of_the_model_ends_at_once(update, repository, tables):
    with (repository / "films" / LOCK_FILE).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        status, line, messages = update(table="no such file.csv")
    assert (status, line["result"]) == (4, "locked")
    assert "another update of this model is running" in messages


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--model", "shows"), "there is no such model"),
        (("--repository", "s3://bucket/models"), "object stores have no locks"),
        (("--version", "1"), "version 1 of model films exists"),
        (("--canary-percent", "120"), "it must be 0 to 100"),
        (("--label", "stable"), "which serves everyone"),
        (("--min-judged", "0"), "it must be at least 1"),
        (("--validation-fraction", "0"), "it must be above 0 and below 1"),
        (("--split", "time"), "--split does not apply to update"),
    ],
)
def test_flags_that_cannot_work_are_refused_before_any_work(flags, words, update):
    status, line, messages = update(*flags, table="no such file.csv")
    assert (status, line) == (2, None)
    assert words in messages


def test_an_error_in_the_data_ends_with_2(update, tmp_path, repository):
    status, line, messages = update(table=write_table(tmp_path / "odd.csv", [("u001", "i001", "many")]))
    assert (status, line) == (2, None)
    assert "is not a number" in messages
    assert versions_in(repository) == BEFORE


# Runs updates in child processes and prints how each one ends. A child is killed at a change of a file in the
# repository: at the n-th one, or at the first one that has a word in its name.
KILLER = """
import os, signal, sys
from cofactor_trainer.__main__ import main
import cofactor_trainer.commands.update

repository, *words = sys.argv[1:]
CHANGES = {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir"}

def kill_at(moment):
    seen = 0
    def hook(event, arguments):
        nonlocal seen
        if event not in CHANGES or not str(arguments[0]).startswith(repository):
            return
        if event == "open" and not (arguments[1] or "r").strip("rb"):
            return
        seen += 1
        if seen == int(moment) if moment.isdigit() else any(str(path).endswith(moment) for path in arguments[:2]):
            os.kill(os.getpid(), signal.SIGKILL)
    return hook

for line in sys.stdin:
    child = os.fork()
    if not child:
        sys.addaudithook(kill_at(line.strip()))
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os._exit(main(words))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
IS_FULL = os.environ.get("FAULTS") == "full"
# The short form kills when the stable version is about to be pinned, while files are copied, and between publication
# and label: the second update has pinned the stable version.
KILLS = [*range(1, 25)] if IS_FULL else ["/serving.json", "/tables.bin", "/serving.json"]


def test_an_update_that_is_killed_anywhere_leaves_a_valid_repository(update, repository, tables, tmp_path):
    words = ["update", "--repository", str(repository), "--model", "films", "--data", str(tables["good"])]
    killer = subprocess.Popen(
        [sys.executable, "-c", KILLER, str(repository), *words],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with killer:
        for number, moment in enumerate(KILLS):
            print(moment, file=killer.stdin, flush=True)
            assert killer.stdout.readline().strip() in (str(-signal.SIGKILL), *(["0"] if IS_FULL else []))
            assert_valid(repository, tmp_path / f"after {number}")
        killer.stdin.close()
    assert len(versions_in(repository) - {"serving.json"}) == 2 or IS_FULL
    status, line, _ = update("--dry-run", table=tables["good"])
    assert (status, line["result"], line["running"]) == (0, "would-publish", "1")


def assert_valid(repository, copies):
    """Check the checksums of every version, and that serving.json serves version 1 to all but canaries."""
    names = versions_in(repository)
    for name in names - {"serving.json"}:
        publish_version(repository / "films" / name, str(copies))
    if "serving.json" not in names:
        assert names == BEFORE
        return
    policy = parse_policy((repository / "films" / "serving.json").read_text(encoding="utf-8"))
    assert policy.labels["stable"] == "1"
    assert set(policy.labels.values()) <= names
