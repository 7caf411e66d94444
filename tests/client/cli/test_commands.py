"""The command `cofactor`: tables for people, JSON for programs, an exit status for scripts."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cofactor_client import Client
from cofactor_client.__main__ import main
from tests.support import synthetic

DATASET = synthetic.make_dataset()
USER, ITEMS = DATASET.user_ids[4], DATASET.catalogue.item_ids


@pytest.fixture
def run(address, capsys):
    """Runs the command in this process -> exit status, standard output, standard error."""

    def call(*arguments):
        try:
            status = main([arguments[0], "--address", address, *arguments[1:]])
        except SystemExit as exit:  # argparse's own
            status = exit.code
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


@pytest.fixture(scope="module")
def client(address):
    with Client(address) as client:
        yield client


def test_predict_takes_ids_and_titles_and_shows_titles(run, client):
    status, out, _ = run("predict", USER, ITEMS[7], "The Film of 9")
    assert status == 0
    for title, rating in zip(
        ("The Film of 7", "The Film of 9"), client.predict(USER, [ITEMS[7], ITEMS[9]]), strict=True
    ):
        line = next(line for line in out.splitlines() if title in line)
        assert f"{rating:.2f}" in line


def test_recommend_shows_titles_best_first(run, client):
    status, out, _ = run("recommend", USER, "-k", "3")
    assert status == 0
    positions = [out.index(f"{scored.title} ") for scored in client.recommend(USER, 3)]
    assert positions == sorted(positions)
    assert "answered by dot 1 on CPUExecutionProvider" in out


def test_recommend_passes_its_filter_on(run, client):
    _, out, _ = run("recommend", USER, "--genre", "Comedy", "--from-year", "1990", "--json", "--include-rated")
    results = json.loads(out)["results"]
    assert len(results) == 10
    assert all("Comedy" in r["item"]["genres"] and r["item"]["release_year"] >= 1990 for r in results)


def test_json_is_the_whole_answer(run, client):
    status, out, _ = run("recommend", USER, "-k", "2", "--json")
    answer = json.loads(out)
    page = client.recommend(USER, 2)
    assert status == 0
    assert [r["item_id"] for r in answer["results"]] == [scored.item_id for scored in page]
    assert answer["results"][0]["predicted_rating"] == pytest.approx(page.results[0].predicted_rating)
    assert answer["model"] == {"name": "dot", "version": "1", "execution_provider": "CPUExecutionProvider"}


@pytest.mark.parametrize(
    "words",
    [
        ("predict", USER, ITEMS[0]),
        ("recommend", USER),
        ("similar", ITEMS[0]),
        ("embed", "--rate", f"{ITEMS[0]}=5", "--recommend", "3"),
        ("search", "film"),
        ("top", "--order", "most-rated"),
        ("explain", USER, ITEMS[0]),
        ("model",),
        ("model", "--list"),
    ],
)
def test_every_subcommand_answers_in_tables_and_in_json(run, words):
    status, out, err = run(*words)
    assert (status, err) == (0, "")
    assert out.strip()
    status, out, err = run(*words, "--json")
    assert (status, err) == (0, "")
    assert json.loads(out)


def test_similar_takes_a_title(run, client):
    _, out, _ = run("similar", "the film of 8", "-k", "4", "--json")
    found = [result["item_id"] for result in json.loads(out)["results"]]
    assert found == [scored.item_id for scored in client.similar_items(ITEMS[8], 4)]


def test_embed_by_title_recommends_without_what_was_rated(run, client):
    _, out, _ = run("embed", "--rate", "The Film of 3=5", "--rate", f"{ITEMS[9]}=1.5", "--recommend", "100", "--json")
    answer = json.loads(out)
    assert answer["new_user"]["embedding"]["rated_item_ids"] == [ITEMS[3], ITEMS[9]]
    recommended = {result["item_id"] for result in answer["recommendations"]["results"]}
    assert len(recommended) == 100
    assert not recommended & {ITEMS[3], ITEMS[9]}


def test_a_misspelt_title_is_a_usage_error_with_suggestions(run):
    status, out, err = run("embed", "--rate", "The Flim of 17=5")
    assert (status, out) == (2, "")
    assert "no item has the id or title 'The Flim of 17'; did you mean" in err
    assert "'The Film of 17'" in err
    assert ITEMS[17] in err


def test_a_title_that_nothing_resembles_says_how_to_find_one(run):
    status, _, err = run("similar", "zzzz")
    assert status == 2
    assert "`cofactor search WORD` finds titles" in err


def test_explain_shows_titles_of_what_was_rated(run, client):
    _, out, _ = run("explain", USER, ITEMS[50], "-k", "3")
    for part in client.explain(USER, ITEMS[50], max_contributions=3).contributions:
        assert f"because of The Film of {ITEMS.index(part.item_id)}" in out
    assert "The Film of 50: predicted rating" in out


def test_model_describes_the_one_asked_for(run):
    _, out, _ = run("model", "--model", "net")
    assert "neural-network" in out
    assert "40 users, 120 items" in out


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (("recommend", "nobody"), 1, "NOT_FOUND: user.user_id"),
        (("model", "--model", "nothing"), 1, "NOT_FOUND: model"),
        (("recommend", USER, "-k", "100000"), 1, "INVALID_ARGUMENT: page_size"),
        (("recommend",), 2, "required: USER"),
        (("recommend", USER, "-k", "0"), 2, "not a positive whole number"),
        (("recommend", USER, "--timeout", "nan"), 2, "not a positive number"),
        (("embed", "--rate", "Toy Story"), 2, "not ITEM=RATING"),
        (("embed", "--rate", "Toy Story=five"), 2, "'five' in 'Toy Story=five' is not a number"),
        (("recommend", USER, "--ca", "nobody.pem"), 2, "nobody.pem"),
        (("model", "--model-version", "1", "--label", "stable"), 2, "version and label"),
    ],
)
def test_errors_are_one_line_and_an_exit_status(run, words, status, message):
    found, out, err = run(*words)
    assert (found, out) == (status, "")
    assert message in err
    assert "Traceback" not in err
    if status == 1:
        assert len(err.splitlines()) == 1


def test_no_server_says_what_to_do(capsys):
    assert main(["model", "--address", "127.0.0.1:1"]) == 1
    assert "no server answers at 127.0.0.1:1; start one with cofactor-serve" in capsys.readouterr().err


def test_the_installed_command_takes_its_address_from_the_environment(address):
    command = shutil.which("cofactor", path=Path(sys.executable).parent) or pytest.skip("cofactor is not installed")
    environment = {**os.environ, "COFACTOR_ADDRESS": address}
    done = subprocess.run(
        [command, "search", "film", "17"], env=environment, capture_output=True, text=True, check=True
    )
    assert "The Film of 17" in done.stdout


def test_a_reader_that_has_seen_enough_is_no_error(address):
    script = (
        f"{sys.executable} -m cofactor_client search film -k 100 --address {address} | head -1; echo ${{PIPESTATUS[0]}}"
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0"
    assert not done.stderr


@pytest.mark.parametrize(
    ("typed", "wanted"),
    [
        ("cofactor re", {"recommend"}),
        ("cofactor top --ord", {"--order"}),
        ("cofactor top --order m", {"most-rated"}),
        ("cofactor completion z", {"zsh"}),
    ],
)
def test_bash_completes(typed, wanted):
    words = typed.split(" ")
    quoted = " ".join(f"'{word}'" for word in words)
    script = (
        f'eval "$({sys.executable} -m cofactor_client completion bash)"; '
        f'COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _cofactor; echo "${{COMPREPLY[@]}}"'
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == wanted
