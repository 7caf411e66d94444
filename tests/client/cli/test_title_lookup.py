"""The `cofactor` command finds the item that a person means by part of its title, and says which one it took."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from cofactor_client import Client
from cofactor_client.__main__ import main
from tests.support import synthetic

TITLES = [
    "Star Wars: Episode IV - A New Hope",  # all users rated the first item, so that it is the most rated one
    "Star Wars: Episode V",
    "The Making of Star Wars",
    "Titanic",
    "Titanic",
    "Alien",
    "Alien Resurrection",
    "Matrix, The",
    "Matrix Reloaded, The",
    "Son of the Wolf",
    "Daughter of the Wolf",
]


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    from cofactor_server.config import ServerConfig
    from cofactor_server.server import create_server
    from cofactor_trainer.export.version_writer import export_version

    dataset = synthetic.make_dataset()
    titles = [*TITLES, *dataset.catalogue.titles[len(TITLES) :]]
    dataset = replace(dataset, catalogue=replace(dataset.catalogue, titles=titles))
    models = tmp_path_factory.mktemp("titles")
    export_version(synthetic.make_model(), dataset, models, "films", "1", metrics={}, hyperparameters={})
    with create_server(ServerConfig(models=models, port=0, provider="cpu")) as server:
        yield f"127.0.0.1:{server.port}"


@pytest.fixture
def run(address, capsys):
    """Return a function that runs the command -> exit status, standard output, standard error."""

    def run_command(*arguments):
        status = main([arguments[0], "--address", address, *arguments[1:]])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run_command


def embedded_ids(out):
    return json.loads(out)["new_user"]["embedding"]["rated_item_ids"]


def test_the_beginning_of_several_titles_means_the_most_rated_of_them(run):
    status, out, err = run("embed", "--rate", "Star Wars=5", "--json")
    assert (status, embedded_ids(out)) == (0, ["i000"])
    assert len(err.splitlines()) == 1
    assert err.startswith("cofactor: note: 'Star Wars' fits 2 items; using the most rated one, 'Star Wars: Episode IV")
    assert "'Star Wars: Episode V'" in err
    assert "i001" in err


@pytest.mark.parametrize(("name", "item_id"), [("Alien", "i005"), ("the matrix", "i007"), ("Reloaded", "i008")])
def test_an_exact_title_or_the_only_fitting_one_is_taken_without_a_note(run, name, item_id):
    status, out, err = run("embed", "--rate", f"{name}=5", "--json")
    assert (status, embedded_ids(out), err) == (0, [item_id], "")


def test_of_two_items_with_one_title_the_most_rated_is_taken_and_a_year_chooses_the_other(run, address):
    with Client(address) as client:
        ranked = sorted(client.search_items("titanic"), key=lambda item: -item.rating_count)
    _, out, err = run("embed", "--rate", "Titanic=5", "--json")
    assert embedded_ids(out) == [ranked[0].item_id]
    assert f"({ranked[1].release_year}, id {ranked[1].item_id})" in err
    status, out, err = run("embed", "--rate", f"Titanic ({ranked[1].release_year})=5", "--json")
    assert (status, embedded_ids(out), err) == (0, [ranked[1].item_id], "")


def test_words_from_the_middle_of_several_titles_are_refused_with_the_titles(run):
    status, out, err = run("embed", "--rate", "of the Wolf=5")
    assert (status, out) == (2, "")
    assert "'of the Wolf' is part of 2 titles; use one of them, or an item's id: " in err
    assert "'Son of the Wolf' (1969, id i009)" in err
    assert "'Daughter of the Wolf'" in err


def test_two_names_of_one_item_are_refused(run):
    status, out, err = run("embed", "--rate", "Alien=5", "--rate", "i005=1")
    assert (status, out) == (2, "")
    assert "both mean 'Alien' (id i005); rate each item once" in err
