"""Files of the demo, in .demo/ beside the Makefile."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".demo"
MODELS = FOLDER / "models"
HELD_OUT = FOLDER / "held_out.csv"
SERVER_LOG = FOLDER / "server.log"
WEB_LOG = FOLDER / "web.log"
