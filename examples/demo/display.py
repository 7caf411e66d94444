"""What the demo prints: headings, and tables of items."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cofactor_client import Item, ScoredItem

LONGEST = 40

console = Console(highlight=False)
if not console.is_terminal:
    console = Console(highlight=False, width=120)


def heading(text: str) -> None:
    """A line across."""
    console.print()
    console.rule(f"[bold]{text}", align="left")


def show_items(title: str, items: Iterable[Item]) -> None:
    """A table of items."""
    rows = [
        (item.title, str(item.release_year or ""), ", ".join(item.genres), str(item.rating_count)) for item in items
    ]
    show(title, ("title", "year", "genres", "ratings"), rows)


def show_scored(title: str, results: Iterable[ScoredItem], score: str) -> None:
    """A table of ranked items."""
    rows = []
    for rank, scored in enumerate(results, start=1):
        item = scored.item
        year, genres = (str(item.release_year or ""), ", ".join(item.genres)) if item else ("", "")
        predicted = "" if scored.predicted_rating is None else f"{scored.predicted_rating:.2f}"
        rows.append((str(rank), scored.title, year, genres, predicted, f"{scored.score:.3f}"))
    show(title, ("#", "title", "year", "genres", "predicted", score), rows)


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A titled table, without columns in which nothing stands."""
    console.print(Text(f"\n{title}", style="bold"))
    filled = [column for column in range(len(columns)) if any(row[column] for row in rows)]
    table = Table(box=None, padding=(0, 0, 0, 2), header_style="dim")
    for name in (columns[column] for column in filled):
        words = name in ("title", "genres", "part")
        table.add_column(name, justify="left" if words else "right", min_width=0 if words else len(name))
    for row in rows:
        table.add_row(*(Text(shortened(row[column])) for column in filled))
    console.print(table)


def shortened(text: str) -> str:
    """At most LONGEST characters, so that a row is a line."""
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
