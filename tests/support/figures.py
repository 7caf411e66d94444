"""Choose the form of the fault tests, short or full, and record the figures that they measure."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

FULL = os.environ.get("FAULTS") == "full"
SEED = int(os.environ.get("FAULTS_SEED", "20261121"))


@contextlib.contextmanager
def figures(name: str, **values: object) -> Iterator[dict[str, object]]:
    """Collect the figures of a test and print them; with FAULTS_FIGURES=FILE, append them to that file as JSON."""
    found: dict[str, object] = {"test": name, "seed": SEED, "full": FULL, **values}
    yield found
    print(json.dumps(found))
    path = os.environ.get("FAULTS_FIGURES")
    if path:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps(found) + "\n")
