"""Find MovieLens 100k and last.fm 2k, which may not be redistributed and are no part of this repository.

This module needs the standard library only: benchmarks/surprise/baselines.py runs without the project's packages.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

SETTING = "COFACTOR_ML100K"
LASTFM_SETTING = "COFACTOR_LASTFM2K"
LASTFM_ADDRESS = "https://files.grouplens.org/datasets/hetrec2011/hetrec2011-lastfm-2k.zip"
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


def lastfm_2k_folder() -> Path:
    """Return the folder that COFACTOR_LASTFM2K names; print one line and exit with 2 if it holds no last.fm 2k."""
    named = os.environ.get(LASTFM_SETTING, "")
    folder = Path(named)
    if named and (folder / "user_artists.dat").is_file():
        return folder
    problem = f"{LASTFM_SETTING}={named} holds no user_artists.dat" if named else f"{LASTFM_SETTING} is not set"
    print(f"error: {problem}: unpack {LASTFM_ADDRESS} and set {LASTFM_SETTING} to its folder", file=sys.stderr)
    raise SystemExit(2)
