"""Describe the compared servers: Cofactor's, the bare echoes and the peers."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from benchmarks.serving import tools
from benchmarks.serving.catalogue import Catalogue
from benchmarks.serving.machine import CORES, SERVER_CORE
from benchmarks.serving.server_process import ServerSpec

PEERS = tools.HERE / "peers"
SERVICE = "/cofactor.v1.RecommenderService"
MOSEC_BATCH = 64
MOSEC_WAIT_MS = 1
"""Of 1, 5 and 10 ms, the wait with the most requests per second."""


def cofactor(name: str, catalogue: Catalogue, *flags: str, cores: tuple[int, ...] = (SERVER_CORE,)) -> ServerSpec:
    """Return Cofactor's server with its default settings and metrics; without the response cache unless flags ask."""
    command = (
        sys.executable,
        "-m",
        "cofactor_server",
        "--models",
        str(catalogue.models(tools.CACHE)),
        "--model",
        catalogue.name,
    )
    return ServerSpec(
        name,
        (
            *command,
            "--port",
            "{port}",
            "--metrics-port",
            "{other_port}",
            "--provider",
            "cpu",
            "--cache-mib",
            "0",
            *flags,
        ),
        "grpc",
        f"{SERVICE}/Recommend",
        cores=cores,
    )


def echo(name: str, front: str, response: Path, *options: str) -> ServerSpec:
    """Return a bare echo behind one of the fronts of peers/echo.py."""
    python = tools.venv("fronts") / "python"
    command = (str(python), str(PEERS / "echo.py"), front, "--port", "{port}", "--response", str(response))
    flags = tuple(part for option in options for part in ("--option", option))
    return ServerSpec(name, (*command, *flags), "grpc", f"{SERVICE}/Recommend")


def grpclib(name: str, response: Path) -> ServerSpec:
    """Return the bare echo on grpclib."""
    command = (str(tools.venv("fronts") / "python"), str(PEERS / "grpclib_echo.py"))
    return ServerSpec(name, command, "grpc", f"{SERVICE}/Recommend", "", {"RESPONSE": str(response), "PORT": "{port}"})


def pyvoy(name: str, response: Path, loop: str) -> ServerSpec:
    """Return the bare echo as an ASGI application inside Envoy."""
    bin_folder = tools.venv("fronts")
    command = (str(bin_folder / "pyvoy"), "asgi_echo:application", "--port", "{port}", "--loop", loop, "--no-lifespan")
    environment = {"RESPONSE": str(response), "PATH": f"{bin_folder}:{os.environ['PATH']}", "PYTHONPATH": str(PEERS)}
    return ServerSpec(name, command, "grpc", f"{SERVICE}/Recommend", "", environment, PEERS)


def _peer_environment(version: Path) -> dict[str, str]:
    return {"VERSION_DIR": str(version), "PYTHONPATH": f"{tools.ROOT}:{PEERS}"}


def mosec(name: str, version: Path, batch: int = 1) -> ServerSpec:
    """Return a mosec server with one worker process."""
    environment = {
        **_peer_environment(version),
        "MOSEC_BATCH": str(batch),
        "MOSEC_WAIT_MS": str(MOSEC_WAIT_MS),
    }
    command = (
        str(tools.venv("mosec") / "python"),
        str(PEERS / "mosec_server.py"),
        "--port",
        "{port}",
        "--log-level",
        "error",
    )
    return ServerSpec(name, command, "http", "/inference", "application/msgpack", environment)


def mlserver(name: str, version: Path) -> ServerSpec:
    """Return MLServer with a single process, over gRPC."""
    folder = tools.CACHE / "mlserver"
    folder.mkdir(parents=True, exist_ok=True)
    settings = {"name": "recommend", "implementation": "mlserver_model.Recommend"}
    (folder / "model-settings.json").write_text(json.dumps(settings))
    environment = {
        **_peer_environment(version),
        "MLSERVER_HOST": "127.0.0.1",
        "MLSERVER_GRPC_PORT": "{port}",
        "MLSERVER_HTTP_PORT": "0",
        "MLSERVER_METRICS_PORT": "0",
        "MLSERVER_PARALLEL_WORKERS": "0",
        "MLSERVER_DEBUG": "false",
    }
    command = (str(tools.venv("mlserver") / "mlserver"), "start", str(folder))
    return ServerSpec(name, command, "grpc", "/inference.GRPCInferenceService/ModelInfer", "", environment)


def litserve(name: str, version: Path) -> ServerSpec:
    """Return LitServe with one worker process."""
    environment = {**_peer_environment(version), "PORT": "{port}"}
    command = (str(tools.venv("litserve") / "python"), str(PEERS / "litserve_server.py"))
    return ServerSpec(name, command, "http", "/predict", "application/json", environment)


def bentoml(name: str, version: Path) -> ServerSpec:
    """Return BentoML with one worker process."""
    python = tools.venv("bentoml") / "python"
    command = (
        str(python),
        "-m",
        "bentoml",
        "serve",
        "bentoml_service:Recommend",
        "--host",
        "127.0.0.1",
        "--port",
        "{port}",
    )
    environment = {
        **_peer_environment(version),
        "BENTOML_DO_NOT_TRACK": "True",
        "BENTOML_HOME": str(tools.CACHE / "bentoml"),
    }
    return ServerSpec(name, command, "http", "/recommend", "application/json", environment, PEERS)


ALL_CORES = tuple(CORES)
