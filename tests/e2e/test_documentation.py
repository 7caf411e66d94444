"""Check the documentation: its examples run, its links lead somewhere, its lists are complete."""

import doctest
import importlib
import re
import shlex
from pathlib import Path

import pytest

from cofactor_client import Client
from cofactor_client.__main__ import main
from tests.test_layers import LAYERS, SERVER

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
CLIENT_PAGE = DOCS / "client-python.md"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *ROOT.glob(".github/**/*.md")])
MODULES = [
    "cofactor_client",
    "cofactor_client._channel",
    "cofactor_client._client",
    "cofactor_client._request_messages",
]
MODULES += ["cofactor_client._catalog_client", "cofactor_client.aio"]


def examples():
    """Yield every example of the client's docstrings and of its page."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    for name in MODULES:
        for test in finder.find(importlib.import_module(name), name):
            if test.examples:
                yield pytest.param(test, id=test.name)
    text = CLIENT_PAGE.read_text(encoding="utf-8")
    test = doctest.DocTestParser().get_doctest(text, {}, CLIENT_PAGE.name, str(CLIENT_PAGE), 0)
    yield pytest.param(test, id=CLIENT_PAGE.name)


@pytest.mark.parametrize("test", list(examples()))
def test_an_example_gives_the_documented_output(served, test):
    for example in test.examples:
        example.source = example.source.replace("localhost:50051", served.address)
    output = []
    with Client(served.address) as client:
        test.globs.setdefault("client", client)
        runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE, verbose=False)
        runner.run(test, out=output.append, clear_globs=False)
    assert not output, "".join(output)


def test_every_method_has_an_example():
    documented = {param.id.rpartition(".")[2] for param in examples()}
    single = {
        "predict",
        "recommend",
        "similar_items",
        "embed_new_user",
        "embed_new_item",
        "explain",
        "search_items",
        "top_items",
    }
    bulk = {"predict_arrays", "predict_frame", "recommend_frame", "batch_recommend", "stream_recommend", "get_model"}
    assert single | bulk <= documented


COMMANDS = re.findall(r"^cofactor (.+)$", CLIENT_PAGE.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_documented_command_succeeds(served, command, monkeypatch, capsys):
    monkeypatch.setenv("COFACTOR_ADDRESS", served.address)
    assert main(shlex.split(command)) == 0
    captured = capsys.readouterr()
    assert captured.out.strip()
    assert not captured.err


def test_every_subcommand_is_documented():
    assert {"predict", "recommend", "similar", "embed", "explain", "search", "top", "model"} <= {
        command.split()[0] for command in COMMANDS
    }


def without_code(page):
    return re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)


def anchors(page):
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", without_code(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [pytest.param(page, id=str(page.relative_to(ROOT))) for page in PAGES])
def test_every_link_to_a_page_or_a_heading_leads_somewhere(page):
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", without_code(page)):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if re.match(r"[a-z]+:", link):
            continue
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("folder", ["docs", "docs/benchmarks", "docs/decisions"])
def test_the_index_of_a_folder_lists_all_its_pages(folder):
    index = (ROOT / folder / "README.md").read_text("utf-8")
    pages = {page.name for page in (ROOT / folder).glob("*.*") if page.suffix in (".md", ".ipynb")} - {"README.md"}
    assert [name for name in sorted(pages) if f"({name}" not in index] == []


def test_a_decision_has_status_date_and_the_usual_sections():
    for page in DOCS.glob("decisions/0*.md"):
        text = page.read_text("utf-8")
        assert re.match(rf"# {page.name[:4]}\. .+\n\nStatus: .+ Date: \d{{4}}-\d\d-\d\d\.\n", text), page
        assert re.findall(r"^## (\w+)", text, re.MULTILINE)[:3] == ["Context", "Decision", "Consequences"], page


@pytest.mark.parametrize("package", LAYERS)
def test_the_architecture_page_lists_the_layers_in_their_order(package):
    text = (DOCS / "architecture.md").read_text("utf-8")
    table = text.partition(f"| package of `{package}` |")[2].partition("\n\n")[0]
    rows = [tuple(re.findall(r"`(\w+)`", row.split("|")[1])) for row in table.splitlines()[2:]]
    assert [sorted(row) for row in rows] == [sorted(layer) for layer in LAYERS[package]]


def test_the_modules_on_the_path_of_a_call_exist():
    text = (
        (DOCS / "architecture.md")
        .read_text("utf-8")
        .partition("## The path of a Recommend call")[2]
        .partition("\n## ")[0]
    )
    modules = set(re.findall(r"`([a-z]+/[a-z_]+)`", text))
    assert {"transport/early_bodies", "services/recommend", "serving/response_encoder"} <= modules
    assert [module for module in modules if not (ROOT / SERVER / f"{module}.py").exists()] == []


def test_every_documented_benchmark_exists():
    text = "\n".join(page.read_text("utf-8") for page in PAGES)
    names = set(re.findall(r"python -m (benchmarks\.[\w.]+)", text)) - {"benchmarks.NAME"}
    assert names
    paths = {name: ROOT / name.replace(".", "/") for name in names}
    assert [
        n for n, path in paths.items() if not any(map(Path.exists, (path.with_suffix(".py"), path / "__main__.py")))
    ] == []
