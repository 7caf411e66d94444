"""Find items by the words of their titles."""

from __future__ import annotations

import re
import unicodedata
from functools import cached_property

import numpy as np
import numpy.typing as npt

from cofactor_server.arrays import NO_ROWS, IndexArray
from cofactor_server.ranking.catalogue import Catalogue

Int8Array = npt.NDArray[np.int8]

_NOT_A_WORD = re.compile(r"[^\w\n]|_")
_SPACES = re.compile(r" +")
_MARKS = re.compile(r"[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]")


def normalize(text: str) -> str:
    """Return `text` without case, accents and punctuation, with one space between words. Keeps line breaks."""
    text = _MARKS.sub("", unicodedata.normalize("NFKD", text)).casefold()
    return _SPACES.sub(" ", _NOT_A_WORD.sub(" ", text))


class TitleSearch:
    """Searches the titles of a catalogue. The first search normalizes them."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    @cached_property
    def _text_and_starts(self) -> tuple[str, IndexArray]:
        """Return all normalized titles, one a line, and the start of each line (n_items,).

        A space stands before every word and after the last, so that " word" and " word " can be searched for.
        """
        joined = "\n".join(title.replace("\n", " ") for title in self._catalogue.titles)
        lines = [f" {line.strip()} " for line in normalize(joined).split("\n")]
        lengths = np.fromiter((len(line) + 1 for line in lines), dtype=np.int64, count=len(lines))
        return "\n".join(lines), np.concatenate([[0], np.cumsum(lengths)[:-1]])

    def find_rows(self, query: str) -> IndexArray:
        """Return the rows of titles in which every word of the query begins a word.

        Titles that equal the query (the year may be left out) come first, then titles that contain all its words in
        full, then the others; within these by rating count, then by row. A query without words finds nothing.
        """
        rows, rank = self.find_matches(query)
        return rows[np.lexsort((rows, -self._catalogue.rating_counts[rows], rank))]

    def find_matches(self, query: str) -> tuple[IndexArray, Int8Array]:
        """Return the rows of these titles, ascending, and how each matches: 0 if it equals the query, 1, or 2."""
        words = normalize(query).split()
        if not words:
            return NO_ROWS, np.zeros(0, dtype=np.int8)
        rows = self._rows_with_all([f" {word}" for word in words])
        has_whole_words = np.isin(rows, self._rows_with_all([f" {word} " for word in words]), assume_unique=True)
        is_title = np.zeros(len(rows), dtype=bool)
        for position in np.flatnonzero(has_whole_words):
            is_title[position] = self._is_title(int(rows[position]), words)
        return rows, 2 - has_whole_words.astype(np.int8) - is_title.astype(np.int8)

    def _rows_with_all(self, needles: list[str]) -> IndexArray:
        """Return the rows whose line contains every needle, ascending."""
        # The longest needle is likely the rarest, so it is searched for first.
        first, *others = sorted(set(needles), key=len, reverse=True)
        rows = self._rows_with(first)
        for needle in others:
            if len(rows) < len(self._catalogue.titles) // 8:
                rows = np.array([row for row in rows.tolist() if needle in self._line(row)], dtype=np.int64)
            else:
                rows = np.intersect1d(rows, self._rows_with(needle), assume_unique=True)
        return rows

    def _rows_with(self, needle: str) -> IndexArray:
        text, starts = self._text_and_starts
        positions = []
        found = text.find(needle)
        while found >= 0:
            positions.append(found)
            end = text.find("\n", found)
            found = text.find(needle, end) if end >= 0 else -1
        return np.searchsorted(starts, positions, side="right") - 1

    def _line(self, row: int) -> str:
        text, starts = self._text_and_starts
        return text[starts[row] : starts[row + 1] - 1] if row + 1 < len(starts) else text[starts[row] :]

    def _is_title(self, row: int, words: list[str]) -> bool:
        title = self._line(row).split()
        if title == words:
            return True
        year = str(self._catalogue.release_years[row])
        return title[-1:] == [year] and title[:-1] == words
