"""Cache the rule sets used last, in the form that a version ranks with."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

from cofactor_server.ranking.rules.rule_set import Rules

# A compiled rule set takes about 10 bytes per item and boost.
MAX_CACHED_RULE_SETS = 16


class CompiledRules:
    """LRU cache of one version. It is safe for threads."""

    def __init__(self) -> None:
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
            while len(self._rules) > MAX_CACHED_RULE_SETS:
                self._rules.popitem(last=False)
        return rules
