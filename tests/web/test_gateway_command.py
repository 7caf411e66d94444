"""The command cofactor-web starts, prints its address, and stops on a signal."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

COMMAND = [sys.executable, "-m", "cofactor_web"]


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_the_command_prints_its_address_and_stops_on_a_signal(stop, server_address):
    command = [*COMMAND, "--target", server_address, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as gateway:
        line = gateway.stdout.readline()
        url = re.fullmatch(r"page at (http://127\.0\.0\.1:\d+/)\n", line).group(1)
        with urllib.request.urlopen(url + "api/health", timeout=30) as response:
            assert b'"SERVING"' in response.read()
        gateway.send_signal(stop)
        rest, errors = gateway.communicate(timeout=30)
    assert (rest, errors) == ("", "")
    assert gateway.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "--target"),
        (["--target", " "], "--target: is empty"),
        (["--target", "localhost", "--timeout-s", "0"], "--timeout-s: must be a positive number"),
        (["--target", "localhost", "--max-body-kib", "0"], "--max-body-kib"),
        (["--target", "localhost", "--metrics-url", "file:///etc/passwd"], "--metrics-url: must begin with http"),
        (["--target", "localhost", "--tls-ca", "/absent.pem"], "/absent.pem"),
        (["--target", "localhost", "--tls-certificate", "a.pem"], "give both"),
        (["--target", "localhost", "--port", "70000"], "--host and --port"),
    ],
)
def test_a_wrong_argument_is_one_line_that_names_it(arguments, problem):
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert problem in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_in_use_is_an_error():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [*COMMAND, "--target", "localhost", "--port", port], capture_output=True, text=True, check=False, timeout=60
        )
    assert done.returncode == 2
    assert f"cannot listen at 127.0.0.1 port {port}" in done.stderr
