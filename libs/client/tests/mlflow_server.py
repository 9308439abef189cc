"""MLflow's own REST server on the loopback interface; says its port on standard output. Stores come by environment.

`mlflow server` would start jobs, a gateway and an assistant beside it, each with packages of its own.
"""

from __future__ import annotations

import importlib
import sys


def main() -> None:
    """Serves until it is ended."""
    serving, app = importlib.import_module("werkzeug.serving"), importlib.import_module("mlflow.server").app
    server = serving.make_server("127.0.0.1", 0, app, threaded=True)
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main()
