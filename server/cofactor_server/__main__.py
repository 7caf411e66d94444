"""Run the command cofactor-serve."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Sequence

from cofactor_server.config import ServerConfig, is_loopback, load_config, suspicious_variables, to_toml
from cofactor_server.errors import CofactorError
from cofactor_server.observability.json_stderr import start_json_stderr
from cofactor_server.runtime.stop_signal import ignore_reload_signals

_LOGGER = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT, then return 0; return 2 if the server cannot start."""
    if arguments is None:
        # Until the server handles SIGINT, Ctrl-C ends the command without a stack trace.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        ignore_reload_signals()
    try:
        config, print_config = load_config(sys.argv[1:] if arguments is None else arguments)
        if print_config:
            sys.stdout.write(to_toml(config))
            return 0
    except CofactorError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    if config.log_format == "text" or arguments is not None:  # a caller from Python keeps its standard error
        return _serve(config)
    end_forwarding = start_json_stderr()
    code = _serve(config)
    end_forwarding()
    return code


def _serve(config: ServerConfig) -> int:
    try:
        # These modules import grpc, which must not be there when a process is forked.
        from cofactor_server.observability.logs import configure_logging
        from cofactor_server.runtime.launcher import serve_in_one_process, serve_with_workers

        configure_logging(config.log_level, config.log_format)
        _warn_of_open_server(config)
        return serve_in_one_process(config) if config.workers == 1 else serve_with_workers(config)
    except CofactorError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except ModuleNotFoundError as error:
        if (error.name or "cofactor").startswith("cofactor"):
            raise  # a broken installation or a mistake in an import, not a missing extra
        sys.stderr.write(
            f"error: cofactor-serve needs the package {error.name}: pip install 'cofactor[server]' (in a checkout "
            "'.[server]'; server-cpu is smaller, without CUDA)\n"
        )
        return 2


def _warn_of_open_server(config: ServerConfig) -> None:
    """Say if other machines may call without a token or a certificate, and which variables may have been meant."""
    for variable, meant in suspicious_variables():
        _LOGGER.warning("%s is not a setting and is ignored: is %s meant?", variable, meant)
    if not (config.tokens or config.jwt_keys or config.tls_client_authority or is_loopback(config.host)):
        _LOGGER.warning(
            "no --tokens, --jwt-keys or --tls-client-authority: everybody who reaches the port may make every call"
        )


if __name__ == "__main__":
    sys.exit(main())
