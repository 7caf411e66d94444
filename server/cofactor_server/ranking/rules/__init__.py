"""Change a ranking by the rules of an operator: boosts, pins, caps and guarantees."""
