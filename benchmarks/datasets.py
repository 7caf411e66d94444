"""Find MovieLens 100k, which may not be redistributed and therefore is not part of this repository.

This module needs the standard library only: benchmarks/surprise/baselines.py runs without the project's packages.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

SETTING = "COFACTOR_ML100K"
ADDRESS = "https://files.grouplens.org/datasets/movielens/ml-100k.zip"


def ml_100k_folder() -> Path:
    """Return the folder that COFACTOR_ML100K names; print one line and exit with 2 if it holds no MovieLens 100k."""
    named = os.environ.get(SETTING, "")
    folder = Path(named)
    if named and all((folder / name).is_file() for name in ("u.data", "u.item", "u.user")):
        return folder
    problem = f"{SETTING}={named} holds no u.data, u.item and u.user" if named else f"{SETTING} is not set"
    print(f"error: {problem}: unpack {ADDRESS} and set {SETTING} to its folder", file=sys.stderr)
    raise SystemExit(2)
