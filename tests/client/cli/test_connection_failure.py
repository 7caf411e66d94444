"""The `cofactor` command tells apart why no call reaches a server, in one line."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from concurrent import futures

import grpc
import pytest

from cofactor_client.__main__ import main
from tests.client.test_security import Authority


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def ports(authority):
    """Ports of one gRPC server without services: plain text, TLS, and TLS that requires a client's certificate."""
    certificate, key = (path.read_bytes() for path in authority.issue("server"))
    tls = grpc.ssl_server_credentials([(key, certificate)])
    mutual = grpc.ssl_server_credentials([(key, certificate)], authority.file.read_bytes(), True)
    server = grpc.server(futures.ThreadPoolExecutor(2))
    found = {
        "plain": server.add_insecure_port("127.0.0.1:0"),
        "tls": server.add_secure_port("127.0.0.1:0", tls),
        "mutual": server.add_secure_port("127.0.0.1:0", mutual),
    }
    server.start()
    yield found
    server.stop(0)


@pytest.mark.parametrize(
    ("port", "host", "options", "message"),
    [
        ("tls", "127.0.0.1", [], "speaks TLS; give --ca FILE with its authority, or --tls"),
        ("mutual", "127.0.0.1", [], "speaks TLS; give --ca FILE with its authority, or --tls"),
        ("plain", "127.0.0.1", ["--ca", "right"], "speaks plain text; leave out --tls and --ca"),
        ("plain", "127.0.0.1", ["--tls"], "speaks plain text; leave out --tls and --ca"),
        ("tls", "localhost", ["--ca", "wrong"], "has a certificate that is not signed by the authorities in "),
        ("tls", "localhost", ["--tls"], "has a certificate that is not signed by a well-known authority"),
        ("tls", "localhost", ["--ca", "own key"], "was not called: --ca, or --cert with --key, is not usable as PEM"),
        ("tls", "127.0.0.1", ["--ca", "right"], "has a certificate for another name than 127.0.0.1"),
        ("mutual", "localhost", ["--ca", "right"], "if it requires a client's certificate, give --cert and --key"),
        ("mutual", "localhost", ["--ca", "right", "--cert", "own", "--key", "own key"], "--cert that its authority"),
    ],
)
def test_the_error_names_the_cause_and_the_remedy(ports, authority, tmp_path, capsys, port, host, options, message):
    other = Authority(tmp_path)
    own, own_key = other.issue("client")
    files = {"right": authority.file, "wrong": other.file, "own": own, "own key": own_key}
    address = f"{host}:{ports[port]}"
    assert main(["model", "--address", address, *(str(files.get(word, word)) for word in options)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"cofactor: error: the server at {address} " in line
    assert message in line


def test_a_port_that_does_not_answer_grpc_is_not_called_unreachable(capsys):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        assert main(["model", "--address", address, "--timeout", "1"]) == 1
    assert "no server is reachable" not in capsys.readouterr().err


@pytest.mark.parametrize("options", [[], ["--ca"]])
def test_no_log_line_of_grpc_reaches_the_terminal(ports, tmp_path, options):
    """The core writes to file descriptor 2, which only a process of its own shows."""
    words = ["models", "ls", "--address", f"localhost:{ports['tls' if options else 'plain']}"]
    words += [*options, str(Authority(tmp_path).file)] if options else []
    environment = {name: value for name, value in os.environ.items() if name != "GRPC_VERBOSITY"}
    command = [sys.executable, "-m", "cofactor_client", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 1
    assert line.startswith("cofactor: error: ")
