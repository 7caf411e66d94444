"""The `cofactor` command on a real server: its tables, its JSON, its error messages and its exit status."""

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
    """Return a function that runs the command in this process -> exit status, standard output, standard error."""

    def run_command(*arguments):
        try:
            status = main([arguments[0], "--address", address, *arguments[1:]])
        except SystemExit as exit:  # raised by argparse
            status = exit.code
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run_command


@pytest.fixture(scope="module")
def client(address):
    with Client(address) as client:
        yield client


def test_predict_takes_ids_and_titles_and_shows_titles(run, client):
    status, out, _ = run("predict", USER, ITEMS[7], "The Film of 9")
    assert status == 0
    ratings = client.predict(USER, [ITEMS[7], ITEMS[9]])
    for title, rating in zip(("The Film of 7", "The Film of 9"), ratings, strict=True):
        line = next(line for line in out.splitlines() if title in line)
        assert f"{rating:.2f}" in line


def test_recommend_shows_titles_best_first(run, client):
    status, out, _ = run("recommend", USER, "-k", "3")
    assert status == 0
    positions = [out.index(f"{scored.title} ") for scored in client.recommend(USER, 3)]
    assert positions == sorted(positions)
    assert "served by dot 1 on CPUExecutionProvider" in out


def test_recommend_takes_rules_from_a_file_and_explains_them(run, tmp_path):
    file = tmp_path / "rules.json"
    file.write_text(json.dumps({"pins": [{"name": "advert", "item_id": ITEMS[7], "position": 1}]}))
    status, out, _ = run("recommend", USER, "--rules", str(file), "--explain-rules", "--json")
    first = json.loads(out)["results"][0]
    assert (status, first["item_id"], first["applied_rules"][0]["name"]) == (0, ITEMS[7], "advert")
    status, out, _ = run("recommend", USER, "--rules", str(file), "--explain-rules")
    assert "pin advert" in out
    file.write_text('{"pinz": []}')
    status, _, error = run("recommend", USER, "--rules", str(file))
    assert (status, "pinz" in error, str(file) in error) == (2, True, True)
    status, _, error = run("recommend", USER, "--rule-set", "home")
    assert status != 0
    assert 'no rule set "home"' in error


def test_recommend_and_similar_take_a_filter_expression(run):
    expression = "price < 5 AND in_stock"
    for command in (("recommend", USER, "--include-rated"), ("similar", ITEMS[1])):
        _, out, _ = run(*command, "-k", "50", "--filter", expression, "--json")
        results = json.loads(out)["results"]
        assert len(results) > 2
        assert all(scored["item"]["attributes"]["price"] < 5 for scored in results)
        assert all(scored["item"]["attributes"]["in_stock"] for scored in results)
    status, _, error = run("recommend", USER, "--filter", "prize < 5")
    assert status != 0
    assert "at character 1" in error
    assert "did you mean price?" in error


def test_model_shows_the_attributes_of_the_items(run):
    _, out, _ = run("model")
    shown = " ".join(out.split())
    assert "price (number: 0.25 to 29.75)" in shown
    assert "added (time: 2024-01-02 to" in shown
    assert "in_stock (boolean)" in shown


def test_recommend_applies_the_filter_options(run, client):
    _, out, _ = run("recommend", USER, "--genre", "Comedy", "--from-year", "1990", "--json", "--include-rated")
    results = json.loads(out)["results"]
    assert len(results) == 10
    assert all("Comedy" in r["item"]["genres"] and r["item"]["release_year"] >= 1990 for r in results)


def test_json_holds_the_whole_response(run, client):
    status, out, _ = run("recommend", USER, "-k", "2", "--json")
    response = json.loads(out)
    page = client.recommend(USER, 2)
    assert status == 0
    assert [r["item_id"] for r in response["results"]] == [scored.item_id for scored in page]
    assert response["results"][0]["predicted_rating"] == pytest.approx(page.results[0].predicted_rating)
    provider = "CPUExecutionProvider"
    assert response["model"] == {"name": "dot", "version": "1", "execution_provider": provider, "overlay_sequence": 0}


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
def test_every_subcommand_prints_tables_and_json(run, words):
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


def test_embed_leaves_rated_items_out_of_its_recommendations(run, client):
    _, out, _ = run("embed", "--rate", "The Film of 3=5", "--rate", f"{ITEMS[9]}=1.5", "--recommend", "100", "--json")
    response = json.loads(out)
    assert response["new_user"]["embedding"]["rated_item_ids"] == [ITEMS[3], ITEMS[9]]
    recommended = {result["item_id"] for result in response["recommendations"]["results"]}
    assert len(recommended) == 100
    assert not recommended & {ITEMS[3], ITEMS[9]}


def test_a_misspelt_title_is_a_usage_error_with_suggestions(run):
    status, out, err = run("embed", "--rate", "The Flim of 17=5")
    assert (status, out) == (2, "")
    assert "no item has the id or title 'The Flim of 17'; did you mean" in err
    assert "'The Film of 17'" in err
    assert ITEMS[17] in err


@pytest.mark.parametrize("words", [("recommend", USER), ("similar", ITEMS[0])])
@pytest.mark.parametrize(
    ("option", "genre", "advice"),
    [
        ("--genre", "Comdey", "did you mean 'Comedy'?"),
        ("--genre", "comedy", "did you mean 'Comedy'?"),
        ("--without-genre", "xxxx", "there are Action, Comedy, Drama, Sci-Fi"),
    ],
)
def test_an_unknown_genre_is_a_usage_error_with_suggestions(run, words, option, genre, advice):
    status, out, err = run(*words, "--genre", "Comedy", option, genre)
    assert (status, out) == (2, "")
    assert err == f"cofactor: error: no item has the genre '{genre}'; {advice}\n"


def test_a_title_without_similar_ones_says_how_to_search(run):
    status, _, err = run("similar", "zzzz")
    assert status == 2
    assert "use `cofactor search WORD` to find titles" in err


def test_explain_shows_the_titles_of_rated_items(run, client):
    _, out, _ = run("explain", USER, ITEMS[50], "-k", "3")
    for part in client.explain(USER, ITEMS[50], max_contributions=3).contributions:
        assert f"because of The Film of {ITEMS.index(part.item_id)}" in out
    assert "The Film of 50: predicted rating" in out


def test_model_describes_the_named_model(run):
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
def test_an_error_is_one_line_and_an_exit_status(run, words, status, message):
    found, out, err = run(*words)
    assert (found, out) == (status, "")
    assert message in err
    assert "Traceback" not in err
    if status == 1:
        assert len(err.splitlines()) == 1


def test_an_unreachable_server_gives_a_message_with_the_remedy(capsys):
    assert main(["model", "--address", "127.0.0.1:1"]) == 1
    assert "no server is reachable at 127.0.0.1:1; start one with cofactor-serve" in capsys.readouterr().err


def test_the_installed_command_reads_its_address_from_the_environment(address):
    command = shutil.which("cofactor", path=Path(sys.executable).parent) or pytest.skip("cofactor is not installed")
    environment = {**os.environ, "COFACTOR_ADDRESS": address}
    done = subprocess.run(
        [command, "search", "film", "17"], env=environment, capture_output=True, text=True, check=True
    )
    assert "The Film of 17" in done.stdout


def test_a_closed_pipe_is_no_error(address):
    script = (
        f"{sys.executable} -m cofactor_client search film -k 100 --address {address} | head -1; echo ${{PIPESTATUS[0]}}"
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0"
    assert not done.stderr


@pytest.mark.parametrize(
    ("typed", "wanted"),
    [
        ("cofactor re", {"recommend", "recommend-all"}),
        ("cofactor top --ord", {"--order"}),
        ("cofactor top --order m", {"most-informative", "most-rated"}),
        ("cofactor completion z", {"zsh"}),
        ("cofactor models p", {"promote"}),
        ("cofactor models promote dot 1 --lab", {"--label"}),
    ],
)
def test_bash_completes_subcommands_options_and_choices(typed, wanted):
    words = typed.split(" ")
    quoted = " ".join(f"'{word}'" for word in words)
    script = (
        f'eval "$({sys.executable} -m cofactor_client completion bash)"; '
        f'COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _cofactor; echo "${{COMPREPLY[@]}}"'
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == wanted
