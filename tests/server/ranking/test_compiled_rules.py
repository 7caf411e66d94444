"""The cache of compiled rule sets keeps those used last, and fewer of a large catalogue."""

from __future__ import annotations

from cofactor_server.ranking.rules.compiled_rules import MAX_CACHED_RULE_SETS, CompiledRules
from cofactor_server.ranking.rules.rule_set import Rules


def compiled(cache: CompiledRules, numbers) -> list[int]:
    """Ask for rule sets by number; return those that had to be compiled."""
    made = []
    for number in numbers:
        cache.get(b"%d" % number, lambda number=number: made.append(number) or Rules(number))
    return made


def test_the_rule_sets_used_last_stay() -> None:
    cache = CompiledRules(n_items=100)
    everything = list(range(MAX_CACHED_RULE_SETS))
    assert compiled(cache, everything) == everything
    assert compiled(cache, [0]) == []
    assert compiled(cache, [99]) == [99]
    assert compiled(cache, [0, 99, 1]) == [1]  # 1 was used least recently


def test_a_large_catalogue_keeps_two() -> None:
    cache = CompiledRules(n_items=10**7)
    assert compiled(cache, [1, 2, 1, 2, 3, 2, 1]) == [1, 2, 3, 1]
