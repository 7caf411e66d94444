"""Test rules on random data against a slow reference, and check what they promise in every window of the list."""

from __future__ import annotations

import itertools
import os
import tracemalloc
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cofactor_server.ranking.filters import ItemSelection
from cofactor_server.ranking.item_scorer import ItemScorer
from cofactor_server.ranking.orders import Order
from cofactor_server.ranking.ranker import Ranker, Ranking, RankingQuery, UserVector
from cofactor_server.ranking.rules import ruled_ranker
from cofactor_server.ranking.rules.rule_set import Boost, Cap, Guarantee, Pin, Rules
from cofactor_server.ranking.rules.ruled_ranker import RuledQuery, RuledRanker

UNIT = 0.7


class NumpyEngine:
    """Predictor and exact top k of given logits."""

    def __init__(self, logits):
        self.logits = np.array(logits, dtype=np.float32)

    def predict(self, _factors, _bias, item_rows):
        return self.logits[item_rows], self.logits[item_rows] / 4

    def find(self, query):
        scores = np.float32(query.order.rating_weight) * self.logits
        left = np.setdiff1d(np.arange(len(scores)), query.excluded_rows)
        assert 1 <= query.k <= len(left)
        rows = left[np.argsort(-scores[left], kind="stable")[: query.k]]
        return Ranking(rows, scores[rows], self.logits[rows] / 4)

    def find_many(self, queries):
        return [self.find(query) for query in queries]


@dataclass
class Case:
    """A catalogue, a user and rules.

    Attributes:
        logits: (n,) scores.
        values: (n,) for each item the values of its attribute, as the caps see them.
        groups: for each guarantee the rows of its group.
        boosts: rows and change of each boost.
        caps: (max_count, window) of each cap.
        minimums: fewest items of each group.
        window: the window of the guarantees.
        pins: place -> row.
    """

    logits: list[float]
    values: list[tuple[int, ...]]
    groups: list[set[int]] = field(default_factory=list)
    boosts: list[tuple[set[int], float]] = field(default_factory=list)
    caps: list[tuple[int, int]] = field(default_factory=list)
    minimums: list[int] = field(default_factory=list)
    window: int = 4
    pins: dict[int, int] = field(default_factory=dict)
    rated: set[int] = field(default_factory=set)
    allowed: set[int] | None = None
    min_rating: float | None = None
    ranking_weight: float = 0.0
    diversity: float = 0.0

    @property
    def n(self) -> int:
        return len(self.logits)

    def mask(self, rows):
        return np.isin(np.arange(self.n), list(rows))

    def rules(self) -> Rules:
        return Rules(
            self.n,
            [Boost(f"b{i}", self.mask(rows), change) for i, (rows, change) in enumerate(self.boosts)],
            [Pin(f"p{place}", row, place) for place, row in self.pins.items()],
            [Cap(f"c{i}", self.values.__getitem__, *cap) for i, cap in enumerate(self.caps)],
            [
                Guarantee(f"g{i}", self.mask(group), minimum, self.window)
                for i, (group, minimum) in enumerate(zip(self.groups, self.minimums, strict=True))
            ],
        )

    def eligible(self):
        """Return the rows that may be returned and are not pinned."""
        rows = set(range(self.n)) if self.allowed is None else set(self.allowed)
        rows -= self.rated | set(self.pins.values())
        return [r for r in sorted(rows) if self.min_rating is None or np.float32(self.logits[r]) / 4 >= self.min_rating]

    def boosted(self, row):
        change = 0.0
        for rows, amount in self.boosts:
            change += amount if row in rows else 0.0
        return float(np.float32(self.logits[row])) + change * UNIT

    def ordered(self):
        return sorted(self.eligible(), key=lambda row: (-self.boosted(row), -np.float32(self.logits[row]), row))


def ranker(case: Case) -> RuledRanker:
    engine = NumpyEngine(case.logits)
    factors = np.random.default_rng(0).normal(size=(case.n + 1, 3)).astype(np.float32)
    tables = {
        "item_factors": factors,
        "item_inverse_norms": (1 / np.linalg.norm(factors, axis=1)).astype(np.float32),
        "item_log_popularity": np.zeros(case.n + 1, np.float32),
    }
    scorer = ItemScorer(engine, tables)
    return RuledRanker(Ranker(engine, scorer), scorer)


def ruled_query(case: Case, rules: Rules, offset: int, size: int, *, explains: bool = False) -> RuledQuery:
    user = UserVector(np.zeros((1, 3), np.float32), np.zeros(1, np.float32), np.array(sorted(case.rated), np.int64))
    selection = ItemSelection(None if case.allowed is None else np.array(sorted(case.allowed), np.int64))
    query = RankingQuery(
        user, offset, size, selection, Order(1.0), diversity=case.diversity, min_rating=case.min_rating
    )
    return RuledQuery(query, rules, rules.pins, UNIT, explains)


def whole_list(case: Case, *, explains: bool = False):
    return ranker(case).rank(ruled_query(case, case.rules(), 0, case.n + 1, explains=explains))


def rows_of(case: Case) -> list[int]:
    return whole_list(case).ranking.rows.tolist()


@pytest.fixture(autouse=True)
def _few_candidates_at_first(monkeypatch):
    """Let small catalogues take the paths of large ones: a small pool, and candidates that do not suffice."""
    monkeypatch.setattr(ruled_ranker, "_first_depth", lambda _query, _n_places: 1)
    monkeypatch.setattr(ruled_ranker, "GROWTH", 2)
    monkeypatch.setattr(ruled_ranker, "DIVERSITY_POOL", 8)


# The reference.


def cap_allows(case: Case, listed: dict[int, int], row: int, place: int) -> bool:
    """Return True if no window around `place` would have too many items of a value of `row`. listed: place -> row."""
    for most, window in case.caps:
        for value in case.values[row]:
            places = [p for p, other in listed.items() if value in case.values[other]] + [place]
            last = max(place, *places)
            spans = [(0, last)] if window == 0 else [(start, start + window - 1) for start in range(1, last + 1)]
            for start, end in spans:
                if start <= place <= end and sum(start <= p <= end for p in places) > most:
                    return False
    return True


def can_keep(case: Case, open_groups, listed: dict[int, set[int]], place: int) -> bool:
    """Return True if some choice of groups for the places after `place` keeps every guarantee. listed: its groups."""
    later = [p for p in range(place + 1, place + case.window) if p not in listed]
    for choice in itertools.product([None, *open_groups], repeat=len(later)):
        groups = {**listed, **{p: {g} for p, g in zip(later, choice, strict=True)}}
        if all(
            sum(g in groups[p] for p in range(end - case.window + 1, end + 1)) >= case.minimums[g]
            for end in range(max(place, case.window), place + case.window)
            for g in open_groups
        ):
            return True
    return False


def reference(case: Case) -> list[int]:
    """Fill the list place by place, by the definition: every place tries all items and all futures. No diversity."""
    left, listed, place = case.ordered(), {}, 0
    pins = dict(case.pins)
    open_groups = set(range(len(case.groups)))
    groups_of = lambda row: {g for g, rows in enumerate(case.groups) if row in rows}  # noqa: E731
    while left or pins:
        place += 1
        if place in pins:
            listed[place] = pins.pop(place)
            continue
        others = {**listed, **pins}
        known = {p: groups_of(row) for p, row in others.items()}
        choices = left
        while open_groups and not can_keep(case, open_groups, {**known, place: set()}, place):
            wanted = {g for g in open_groups if can_keep(case, open_groups, {**known, place: {g}}, place)}
            empty = {g for g in wanted if not groups_of_any(case, left, g)}
            open_groups -= empty
            if not empty:
                choices = [row for row in left if groups_of(row) & wanted]
                break
        fits = [row for row in choices if cap_allows(case, others, row, place)]
        if not fits and choices is left:
            for row in (row for _, row in sorted(pins.items())):
                listed[place] = row
                place += 1
            break
        listed[place] = (fits or choices)[0]
        left.remove(listed[place])
    return [row for _, row in sorted(listed.items())]


def groups_of_any(case: Case, rows, group) -> bool:
    return any(row in case.groups[group] for row in rows)


# Random cases.


@st.composite
def cases(draw, *, with_guarantees=True, with_pins=True, disjoint=False, with_diversity=False):
    n = draw(st.integers(1, 24))
    rows = st.integers(0, n - 1)
    case = Case(
        logits=draw(st.lists(st.sampled_from([-3.0, -0.5, 0.0, 0.1, 0.25, 1.0, 2.0]), min_size=n, max_size=n)),
        values=draw(st.lists(st.sets(st.integers(0, 3), max_size=2).map(tuple), min_size=n, max_size=n)),
        boosts=draw(st.lists(st.tuples(st.sets(rows), st.sampled_from([-2.0, -0.3, 0.0, 0.3, 5.0])), max_size=3)),
        rated=draw(st.sets(rows, max_size=4)),
        allowed=draw(st.none() | st.sets(rows)),
        min_rating=draw(st.none() | st.sampled_from([0.0, 0.05])),
    )
    for _ in range(draw(st.integers(0, 2))):
        most = draw(st.integers(1, 3))
        case.caps.append((most, draw(st.just(0) | st.integers(most + 1, 6))))
    if with_guarantees:
        case.window = draw(st.integers(1, 4))
        room = case.window
        worst = sorted(range(n), key=case.logits.__getitem__)
        lowest = [set(worst[:size]) for size in range(n + 1)]
        for _ in range(draw(st.integers(0, 2))):
            if room:
                case.minimums.append(draw(st.integers(1, room)))
                room -= case.minimums[-1]
                taken = set().union(*case.groups) if disjoint and case.groups else set()
                case.groups.append(draw(st.sets(rows) | st.sampled_from(lowest)) - taken)
    if with_pins:
        case.pins = draw(
            st.dictionaries(st.integers(1, n + 3), rows, max_size=3).filter(
                lambda pins: len(set(pins.values())) == len(pins)
            )
        )
    if with_diversity:
        case.diversity = draw(st.sampled_from([0.0, 0.5, 1.0]))
    return case


many = settings(
    max_examples=3000 if os.environ.get("FAULTS") == "full" else 80,
    deadline=None,
    derandomize=True,
    # The fixture only sets constants, which all examples share.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@many
@given(cases(with_pins=False, disjoint=True))
def test_the_list_is_that_of_the_slow_reference(case):
    assert rows_of(case) == reference(case)


@many
@given(cases(with_guarantees=False))
def test_the_list_with_pins_is_that_of_the_slow_reference(case):
    assert rows_of(case) == reference(case)


@many
@given(cases(with_diversity=True), st.integers(1, 5))
def test_pages_of_any_size_add_up_to_one_long_page(case, size):
    core, rules = ranker(case), case.rules()
    whole = core.rank(ruled_query(case, rules, 0, case.n + 1)).ranking
    assert not whole.has_more
    for end in range(1, len(whole.rows) + 1):
        beginning = core.rank(ruled_query(case, rules, 0, end)).ranking
        assert beginning.rows.tolist() == whole.rows[:end].tolist()
        assert beginning.has_more == (end < len(whole.rows))
    rows, scores, has_more = [], [], True
    while has_more:
        page = core.rank(ruled_query(case, rules, len(rows), size)).ranking
        has_more = page.has_more
        assert len(page.rows) == size or not has_more
        rows += page.rows.tolist()
        scores += page.scores.tolist()
    assert rows == whole.rows.tolist()
    assert scores == whole.scores.tolist()


@many
@given(cases(with_diversity=True))
def test_quotas_are_exact_in_every_window_whatever_the_data(case):
    page = whole_list(case, explains=True)
    rows = page.ranking.rows.tolist()
    kinds = [{rule.kind for rule in applied} for applied in page.applied]
    assert len(set(rows)) == len(rows)
    assert set(rows) <= set(case.eligible()) | set(case.pins.values())
    # Pins stand where they should, or at the end of a list that is shorter.
    for place, row in case.pins.items():
        assert row in rows
        assert rows.index(row) + 1 <= place
        assert rows.index(row) + 1 == place or all("pin" in kind for kind in kinds[rows.index(row) :])
    # No item that the score put here makes a window exceed a cap.
    moved_pins = any(rows.index(row) + 1 != place for place, row in case.pins.items())
    for most, window in case.caps:
        for value in {value for values in case.values for value in values}:
            places = [place for place, row in enumerate(rows) if value in case.values[row]]
            for start in range(len(rows)):
                inside = [place for place in places if place < start + window or not window]
                inside = [place for place in inside if place >= start]
                if len(inside) > most and not moved_pins:
                    assert any(kinds[place] & {"pin", "guarantee"} for place in inside)
    # Every window has the items of a group, unless there are no more of them; pins may take their places.
    if not case.pins:
        for group, minimum in zip(case.groups, case.minimums, strict=True):
            for start in range(len(rows) - case.window + 1):
                window = rows[start : start + case.window]
                left = group & set(case.eligible()) - set(rows[: start + case.window])
                assert len(group & set(window)) >= minimum or not left


@many
@given(cases(with_diversity=True), st.lists(st.integers(0, 9), min_size=2, max_size=4))
def test_many_queries_at_once_are_the_same_as_one_by_one(case, offsets):
    core, rules = ranker(case), case.rules()
    queries = [ruled_query(case, rules, offset, 3, explains=True) for offset in offsets]
    for one, other in zip(map(core.rank, queries), core.rank_many(queries), strict=True):
        assert one.ranking.rows.tolist() == other.ranking.rows.tolist()
        assert one.ranking.has_more == other.ranking.has_more
        assert one.applied == other.applied


def test_a_guarantee_finds_the_items_of_a_large_group_however_low_their_scores_are():
    falling = [float(score) for score in range(20, 0, -1)]
    case = Case(falling, [()] * 20, groups=[{17, 18, 19}], minimums=[1], window=2)
    beginning = ranker(case).rank(ruled_query(case, case.rules(), 0, 2)).ranking
    assert beginning.rows.tolist() == [0, 17]
    assert rows_of(case)[:7] == [0, 17, 1, 18, 2, 19, 3]


def test_a_cap_lets_an_item_wait_for_its_next_place():
    case = Case([9.0, 8.0, 7.0, 6.0, 5.0, 4.0], [(1,), (1,), (1,), (2,), (), (2,)], caps=[(1, 3)])
    page = whole_list(case, explains=True)
    assert page.ranking.rows.tolist() == [
        0,
        3,
        4,
        1,
        5,
    ]
    assert [[rule.kind for rule in applied] for applied in page.applied] == [[], [], [], ["cap"], []]


def test_a_page_far_beyond_the_end_is_empty_and_takes_no_memory():
    case = Case([3.0, 2.0, 1.0], [()] * 3, groups=[{1}], minimums=[1], window=2, pins={9: 2})
    tracemalloc.start()
    page = ranker(case).rank(ruled_query(case, case.rules(), 2**32 - 10, 5)).ranking
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()
    assert (len(page.rows), page.has_more) == (0, False)


def test_all_items_of_a_small_group_are_known_before_many_others_are():
    case = Case([float(score) for score in range(200, 0, -1)], [()] * 200, minimums=[1], window=2)
    case.groups = [set(range(176, 200))]
    beginning = ranker(case).rank(ruled_query(case, case.rules(), 0, 2)).ranking
    assert beginning.rows.tolist() == [0, 176]


def test_caps_look_at_diverse_items_in_the_same_order_for_every_page():
    for seed in range(20):
        scores = np.random.default_rng(seed).normal(size=12).tolist()
        values = [(1,) if row % 4 else (row,) for row in range(12)]
        case = Case(scores, values, caps=[(1, 4)], diversity=0.7)
        whole = rows_of(case)
        for end in range(1, len(whole)):
            beginning = ranker(case).rank(ruled_query(case, case.rules(), 0, end)).ranking
            assert beginning.rows.tolist() == whole[:end]


@pytest.mark.parametrize("diversity", [0.0, 0.6])
@pytest.mark.parametrize("allowed", [None, {1, 4, 6, 7, 9}])
def test_an_empty_rule_set_changes_nothing(diversity, allowed, monkeypatch):
    monkeypatch.setattr(ruled_ranker, "DIVERSITY_POOL", 256)
    case = Case([1.0, 0.5, 2.0, 2.0, 0.1, 0.9, 3.0, -1.0, 0.0, 0.2], [()] * 10, rated={2}, allowed=allowed)
    case.diversity = diversity
    query = ruled_query(case, case.rules(), 0, 10)
    assert rows_of(case) == ranker(case)._ranker.rank(query.query).rows.tolist()
