"""Headings and tables that the demo prints."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cofactor_client import Item, ScoredItem

MAX_CELL_LENGTH = 40
TEXT_COLUMNS = ("title", "genres", "part")

console = Console(highlight=False)
if not console.is_terminal:
    console = Console(highlight=False, width=120)


def heading(text: str) -> None:
    """Print a heading across the terminal."""
    console.print()
    console.rule(f"[bold]{text}", align="left")


def show_items(title: str, items: Iterable[Item]) -> None:
    """Print a table of items."""
    rows = [
        (item.title, str(item.release_year or ""), ", ".join(item.genres), str(item.rating_count)) for item in items
    ]
    show_table(title, ("title", "year", "genres", "ratings"), rows)


def show_scored(title: str, results: Iterable[ScoredItem], score_name: str) -> None:
    """Print a table of ranked items."""
    rows = []
    for rank, scored in enumerate(results, start=1):
        item = scored.item
        predicted = "" if scored.predicted_rating is None else f"{scored.predicted_rating:.2f}"
        year, genres = str(item.release_year or ""), ", ".join(item.genres)
        rows.append((str(rank), scored.title, year, genres, predicted, f"{scored.score:.3f}"))
    show_table(title, ("#", "title", "year", "genres", "predicted", score_name), rows)


def show_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], text_columns: Collection[str] = TEXT_COLUMNS
) -> None:
    """Print a table with a title, without the columns that are empty. Columns of text are aligned to the left."""
    console.print(Text(f"\n{title}", style="bold"))
    filled = [column for column in range(len(columns)) if any(row[column] for row in rows)]
    table = Table(box=None, padding=(0, 0, 0, 2), header_style="dim")
    for name in (columns[column] for column in filled):
        is_text = name in text_columns
        table.add_column(name, justify="left" if is_text else "right", min_width=0 if is_text else len(name))
    for row in rows:
        table.add_row(*(Text(_shorten(row[column])) for column in filled))
    console.print(table)


def _shorten(text: str) -> str:
    """Cut text to MAX_CELL_LENGTH characters, so that a row fits in one line."""
    return text if len(text) <= MAX_CELL_LENGTH else text[: MAX_CELL_LENGTH - 1] + "…"
