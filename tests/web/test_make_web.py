"""`make web` runs a server with the gateway beside it, and Ctrl-C stops both."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# The demo without its training: another folder of models, and of logs.
PROGRAM = """
import sys
from pathlib import Path
from examples.demo import server, web
server.MODELS, logs = Path(sys.argv[1]), Path(sys.argv[2])
server.SERVER_LOG, web.WEB_LOG = logs / "server.log", logs / "web.log"
sys.exit(web.run_page(server.free_port()))
"""


def test_the_page_is_served_until_ctrl_c(dot_version, tmp_path):
    command = [sys.executable, "-c", PROGRAM, str(dot_version.parents[1]), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True, env=environment) as demo:
        lines = []
        while not (found := re.search(r"page at (http://\S+)", "".join(lines))):
            lines.append(line := demo.stdout.readline())
            assert line, "".join(lines)
        with urllib.request.urlopen(f"{found[1]}api/health", timeout=30) as response:
            assert json.load(response) == {"server": "SERVING", "operator": True, "metrics": True}
        os.killpg(demo.pid, signal.SIGINT)  # as a terminal does
        rest, _ = demo.communicate(timeout=60)
    assert demo.returncode == 0
    assert "page stopped with exit status 0" in rest
    assert "server stopped with exit status 0" in rest
