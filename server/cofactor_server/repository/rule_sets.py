"""Named rule sets of a model (rules.json), which requests refer to by name."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from google.protobuf import json_format

from cofactor.v1.recommender_pb2 import RuleSet, RuleSets
from cofactor_server.errors import InvalidField
from cofactor_server.repository.serving_policy import PolicyError

RULES = "rules.json"
MOST_RULE_SETS = 100
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_DIGEST_BYTES = 8


@dataclass(frozen=True)
class NamedRuleSet:
    """A rule set of the repository.

    Attributes:
        name: its name.
        content: the serialized message.
        digest: a hash of the content.
    """

    name: str
    content: bytes
    digest: bytes

    @property
    def rules(self) -> RuleSet:
        """Return the rule set as a message of the caller's own."""
        return RuleSet.FromString(self.content)


NamedRuleSets: TypeAlias = Mapping[str, NamedRuleSet]
RuleCheck: TypeAlias = Callable[[RuleSet], None]
"""Raises InvalidField for a rule set that is wrong, with the field relative to the rule set."""


def accept_all(_rules: RuleSet) -> None:
    """Accept every rule set."""


def parse_rule_sets(text: str, check: RuleCheck) -> NamedRuleSets:
    """Parse rules.json. Raises PolicyError naming the invalid field."""
    if not text.lstrip().startswith("{"):  # the protobuf parser accepts an empty list as an empty message
        raise PolicyError(f"{RULES} holds no rule sets: it must be a JSON object")
    try:
        message = json_format.Parse(text, RuleSets())
    except json_format.ParseError as error:
        raise PolicyError(f"{RULES} holds no rule sets: {error}") from None
    if len(message.rule_sets) > MOST_RULE_SETS:
        raise PolicyError(f"{RULES}: has {len(message.rule_sets)} rule sets; use at most {MOST_RULE_SETS}")
    return {name: _named(name, message.rule_sets[name], check) for name in sorted(message.rule_sets)}


def _named(name: str, rules: RuleSet, check: RuleCheck) -> NamedRuleSet:
    if not _NAME.fullmatch(name):
        raise PolicyError(
            f"{RULES}: rule_sets: the name of a rule set must have 1 to 64 of the characters a-z, 0-9, '.', '_', '-'"
        )
    try:
        check(rules)
    except InvalidField as error:
        raise PolicyError(f"{RULES}: rule_sets[{name}].{error}") from None
    content = rules.SerializeToString(deterministic=True)
    return NamedRuleSet(name, content, hashlib.blake2b(content, digest_size=_DIGEST_BYTES).digest())
