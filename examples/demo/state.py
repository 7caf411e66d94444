"""Where the demo keeps what it makes: .demo/ beside the Makefile."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STATE = ROOT / ".demo"
MODELS = STATE / "models"
HELD_OUT = STATE / "held_out.csv"
SERVER_LOG = STATE / "server.log"
