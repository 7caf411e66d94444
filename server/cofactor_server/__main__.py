"""The command cofactor-serve."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Sequence

from cofactor_server.config import load_config, to_toml
from cofactor_server.errors import CofactorError

_LOGGER = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves until SIGTERM or SIGINT; returns 0 then, and 2 when it cannot start."""
    try:
        config, print_config = load_config(sys.argv[1:] if arguments is None else arguments)
        if print_config:
            sys.stdout.write(to_toml(config))
            return 0
        logging.basicConfig(level=config.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
        from cofactor_server.server import create_server

        asked_to_stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _number, _frame: asked_to_stop.set())
        server = create_server(config)
    except CofactorError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    asked_to_stop.wait()
    _LOGGER.info("stopping")
    server.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
