"""Items by words of their title."""

from __future__ import annotations

import re
import unicodedata
from functools import cached_property

import numpy as np

from cofactor_server.arrays import NO_ROWS, IndexArray
from cofactor_server.catalogue import Catalogue

_NOT_A_WORD = re.compile(r"[^\w\n]|_")
_SPACES = re.compile(r" +")
_MARKS = re.compile(r"[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]")


def folded(text: str) -> str:
    """`text` without case, accents and punctuation: words with one space between them, lines kept."""
    text = _MARKS.sub("", unicodedata.normalize("NFKD", text)).casefold()
    return _SPACES.sub(" ", _NOT_A_WORD.sub(" ", text))


class TitleSearch:
    """Searches a catalogue's titles; the folded titles are made at the first search."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    @cached_property
    def _text_and_starts(self) -> tuple[str, IndexArray]:
        """Every folded title on a line, a space before each word and after the last; where each line starts."""
        joined = "\n".join(title.replace("\n", " ") for title in self._catalogue.titles)
        lines = [f" {line.strip()} " for line in folded(joined).split("\n")]
        lengths = np.fromiter((len(line) + 1 for line in lines), dtype=np.int64, count=len(lines))
        return "\n".join(lines), np.concatenate([[0], np.cumsum(lengths)[:-1]])

    def rows(self, query: str) -> IndexArray:
        """Rows whose title has every word of the query, or words that begin so.

        Whole titles (their year may be left out) come first, then titles with all the words whole, then the rest;
        within these by rating count, then by row. None of them where the query has no word in it.
        """
        words = folded(query).split()
        if not words:
            return NO_ROWS
        rows = self._rows_with([f" {word}" for word in words])
        whole_words = np.isin(rows, self._rows_with([f" {word} " for word in words]), assume_unique=True)
        whole_title = np.zeros(len(rows), dtype=bool)
        for position in np.flatnonzero(whole_words):
            whole_title[position] = self._is_title(int(rows[position]), words)
        rank = 2 - whole_words.astype(np.int8) - whole_title.astype(np.int8)
        return rows[np.lexsort((rows, -self._catalogue.rating_counts[rows], rank))]

    def _rows_with(self, needles: list[str]) -> IndexArray:
        """Rows whose line contains every needle, ascending."""
        text, starts = self._text_and_starts
        rows: IndexArray | None = None
        for needle in sorted(set(needles), key=len, reverse=True):
            # A lookahead, because " a a " holds the needle " a " twice and their ends overlap.
            positions = [match.start() for match in re.finditer(f"(?={re.escape(needle)})", text)]
            found = np.unique(np.searchsorted(starts, positions, side="right") - 1)
            rows = found if rows is None else np.intersect1d(rows, found, assume_unique=True)
            if len(rows) == 0:
                break
        assert rows is not None
        return rows

    def _is_title(self, row: int, words: list[str]) -> bool:
        text, starts = self._text_and_starts
        line = text[starts[row] : text.find("\n", starts[row]) if row + 1 < len(starts) else None].split()
        if line == words:
            return True
        year = str(self._catalogue.release_years[row])
        return line[-1:] == [year] and line[:-1] == words
