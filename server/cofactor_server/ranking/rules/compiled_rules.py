"""Cache the rule sets used last, in the form that a version ranks with."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

from cofactor_server.ranking.rules.rule_set import Rules

MAX_CACHED_RULE_SETS = 16
# A rule set with a few boosts takes about 40 bytes per item, so large catalogues cache fewer of them.
_MAX_CACHED_ITEMS = 2**22


class CompiledRules:
    """LRU cache of one version with `n_items` items. It is safe for threads."""

    def __init__(self, n_items: int) -> None:
        self._max_size = max(2, min(MAX_CACHED_RULE_SETS, _MAX_CACHED_ITEMS // max(1, n_items)))
        self._rules: OrderedDict[bytes, Rules] = OrderedDict()
        self._changing = threading.Lock()

    def get(self, content: bytes, compile_rules: Callable[[], Rules]) -> Rules:
        """Return the rules of a serialized rule set; `compile_rules` makes them if they are not cached."""
        with self._changing:
            rules = self._rules.get(content)
            if rules is not None:
                self._rules.move_to_end(content)
                return rules
        rules = compile_rules()  # two threads may do it at once, and both results are right
        with self._changing:
            self._rules[content] = rules
            while len(self._rules) > self._max_size:
                self._rules.popitem(last=False)
        return rules
