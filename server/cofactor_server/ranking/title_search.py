"""Items by words of their title."""

from __future__ import annotations

import re
import unicodedata
from functools import cached_property

import numpy as np

from cofactor_server.arrays import NO_ROWS, IndexArray
from cofactor_server.ranking.catalogue import Catalogue

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
        """Rows whose line contains every needle, ascending: the longest, which is likely the rarest, finds them."""
        first, *others = sorted(set(needles), key=len, reverse=True)
        rows = self._rows_with_one(first)
        for needle in others:
            if len(rows) < len(self._catalogue.titles) // 8:
                rows = np.array([row for row in rows.tolist() if needle in self._line(row)], dtype=np.int64)
            else:
                rows = np.intersect1d(rows, self._rows_with_one(needle), assume_unique=True)
        return rows

    def _rows_with_one(self, needle: str) -> IndexArray:
        text, starts = self._text_and_starts
        positions = []
        found = text.find(needle)
        while found >= 0:
            positions.append(found)
            end = text.find("\n", found)
            found = text.find(needle, end) if end >= 0 else -1
        return np.searchsorted(starts, positions, side="right") - 1

    def _line(self, row: int) -> str:
        """The folded title of a row, a space before each word and after the last."""
        text, starts = self._text_and_starts
        return text[starts[row] : starts[row + 1] - 1] if row + 1 < len(starts) else text[starts[row] :]

    def _is_title(self, row: int, words: list[str]) -> bool:
        line = self._line(row).split()
        if line == words:
            return True
        year = str(self._catalogue.release_years[row])
        return line[-1:] == [year] and line[:-1] == words
