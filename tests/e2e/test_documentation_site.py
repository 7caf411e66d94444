"""The documentation site: built without warnings, complete, and without a request to another host."""

from __future__ import annotations

import html.parser
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools.docs import api_page, site

ROOT = Path(__file__).resolve().parents[2]


def build(folder: Path) -> subprocess.CompletedProcess[str]:
    """Build the site of the pages in folder/build/pages."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", "build/mkdocs.yml"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def built(tmp_path_factory, request):
    """Return a folder with build/pages and build/site, and links to the code that the site is made from."""
    folder = tmp_path_factory.mktemp("site")
    for name in ("client", "proto", "tools"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "build").mkdir()
    site.collect(folder / "build" / "pages")
    site.write_settings(folder / "build" / "pages", folder / "build" / "mkdocs.yml")
    done = build(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_page_is_on_the_site_and_in_the_menu(built) -> None:
    pages = {path.relative_to(built / "build" / "pages") for path in (built / "build" / "pages").rglob("*.md")}
    assert len(pages) > 40
    menu = (built / "build" / "mkdocs.yml").read_text()
    assert {str(page) for page in pages if f'"{page}"' not in menu} == set()


class AddressesLoaded(html.parser.HTMLParser):
    """Collects what a browser would load by itself: scripts, styles, pictures, fonts."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag in {"script", "img", "iframe"} and values.get("src"):
            self.found.append(values["src"])
        if tag == "link" and values.get("rel") in {"stylesheet", "icon", "preconnect"}:
            self.found.append(values["href"])


def test_a_page_loads_nothing_from_another_host(built) -> None:
    for page in ("index.html", "api.html", "docs/operations.html"):
        parser = AddressesLoaded()
        parser.feed((built / "build" / "site" / page).read_text())
        assert len(parser.found) >= 3
        assert [address for address in parser.found if "//" in address] == []


def test_a_dead_link_fails_the_build(built, tmp_path) -> None:
    shutil.copytree(built, tmp_path / "copy", symlinks=True)
    page = tmp_path / "copy" / "build" / "pages" / "docs" / "glossary.md"
    page.write_text(page.read_text() + "\n[gone](no-such-page.md)\n")
    done = build(tmp_path / "copy")
    assert done.returncode != 0
    assert "no-such-page.md" in done.stdout + done.stderr


def test_the_reference_has_every_method_and_field_of_the_api() -> None:
    text = api_page.documentation("cofactor.v1")
    for path in (ROOT / "proto" / "cofactor" / "v1").glob("*.proto"):
        source = path.read_text()
        for name in re.findall(r"^\s*rpc (\w+)", source, re.MULTILINE):
            assert f"| {name} | " in text
        for name, number in re.findall(r"^\s+[\w.<>, ]+ (\w+) = (\d+);", source, re.MULTILINE):
            assert f"| `{name}` | {number} | " in text
    assert (
        "| [PredictRequest](api.md#predictrequest) | [PredictResponse](api.md#predictresponse) | Predicts ratings"
        in text
    )


def test_a_link_out_of_the_site_becomes_the_path_of_the_file() -> None:
    place, on_the_site = Path("docs/clients.md"), {Path("docs/errors.md")}
    text = "[errors](errors.md), [protos](../proto), [gone](gone.md)\n```\n[protos](../proto)\n```"
    kept = "[errors](errors.md), protos (`proto`), [gone](gone.md)\n```\n[protos](../proto)\n```"
    assert site.without_dead_links(text, place, on_the_site) == kept
