"""Collect the pages of the documentation site in build/pages, with the settings of mkdocs: `python -m tools.docs.site`.

`make docs` builds the site. The pages are docs/, the Markdown files at the top of the checkout, and references made
from the .proto files and the docstrings. Links to files that are not on the site become the path of the file.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from tools.docs.api_page import API_PAGES, documentation

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "build" / "pages"
SETTINGS = ROOT / "build" / "mkdocs.yml"
TOP = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
# Pages that are made here -> the audience in docs/README.md that they are for.
GENERATED = {"api.md": "Users", "api-python.md": "Users", "api-admin.md": "Operators", "SECURITY.md": "Operators"}
FOLDERS = {"docs/benchmarks": ("Data scientists", "Benchmarks"), "docs/decisions": ("Contributors", "Decisions")}
PYTHON_PAGE = """# Python client, every method

::: cofactor_client

::: cofactor_client.Client

::: cofactor_client.aio.AsyncClient
"""
_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)#\s]+)(#[^)\s]*)?\)")
_CODE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def collect(pages: Path = PAGES) -> None:
    """Write all pages to an empty folder. The links between them stay as they are."""
    shutil.rmtree(pages, ignore_errors=True)
    files = (path for path in (ROOT / "docs").rglob("*") if path.suffix in {".md", ".svg", ".png"})
    sources = {path.relative_to(ROOT): path for path in files}
    sources |= {Path(name): ROOT / name for name in TOP}
    for place, path in sources.items():
        target = pages / place
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".md":
            text = without_dead_links(path.read_text(encoding="utf-8"), place, set(sources))
            target.write_text(text, encoding="utf-8")
        else:
            shutil.copyfile(path, target)
    for package, name in API_PAGES.items():
        (pages / name).write_text(documentation(package), encoding="utf-8")
    (pages / "api-python.md").write_text(PYTHON_PAGE, encoding="utf-8")


def navigation(pages: Path = PAGES) -> list[object]:
    """Return the menu: the audiences and pages of docs/README.md, with the pages that are made here."""
    text = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    audiences: dict[str, list[object]] = {}
    for line in text.splitlines():
        if heading := re.match(r"\*\*(.+)\*\*", line):
            audiences[heading.group(1)] = []
        elif entry := re.match(r"- \[[^]]+\]\(([^)]+\.md)\)", line):
            page = os.path.normpath(Path("docs") / entry.group(1))
            if page.rpartition("/")[0] not in FOLDERS:
                audiences[list(audiences)[-1]].append(page)
    for page, audience in GENERATED.items():
        audiences[audience].append(page)
    for folder, (audience, title) in FOLDERS.items():
        audiences[audience].append({title: list(_pages_of(pages, folder))})
    audiences["Contributors"].append("CHANGELOG.md")
    return [{"Cofactor": "README.md"}, *({audience: entries} for audience, entries in audiences.items())]


def _pages_of(pages: Path, folder: str) -> Iterator[str]:
    """Yield the pages of a folder, its README first."""
    names = sorted(path.name for path in (pages / folder).glob("*.md"))
    yield from (f"{folder}/{name}" for name in sorted(names, key=lambda name: (name != "README.md", name)))


def write_settings(pages: Path = PAGES, settings: Path = SETTINGS) -> None:
    """Write the settings of mkdocs with the menu. YAML reads JSON."""
    values = {"INHERIT": "../tools/docs/mkdocs.yml", "nav": navigation(pages), "not_in_nav": "docs/README.md"}
    settings.write_text(json.dumps(values, indent=1), encoding="utf-8")


def without_dead_links(text: str, place: Path, on_the_site: set[Path]) -> str:
    """Replace the links of a page to files that are in the checkout, but not on the site, by the text and the path.

    Links in blocks of code stay. A link to a file that does not exist stays as well, so that the build reports it.
    """

    def replace(found: re.Match[str]) -> str:
        label, address, _ = found.groups()
        target = Path(os.path.normpath(place.parent / address))
        if "://" in address or target in on_the_site or not (ROOT / target).exists():
            return found.group()
        return label if label.strip("`") == str(target) else f"{label} (`{target}`)"

    parts, end = [], 0
    for block in _CODE.finditer(text):
        parts += [_LINK.sub(replace, text[end : block.start()]), block.group()]
        end = block.end()
    return "".join([*parts, _LINK.sub(replace, text[end:])])


if __name__ == "__main__":
    collect()
    write_settings()
