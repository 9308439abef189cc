"""A service that does nothing but serve its health, for tests of the supervisor.

STUB=dies ends it before it serves; HEADRACE_<NAME>_LISTEN says where it listens.
"""

from __future__ import annotations

import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

if __name__ == "__main__":
    if os.environ.get("STUB") == "dies":
        sys.stderr.write("the stub was told to die\n")
        sys.exit(3)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    server = grpc.server(ThreadPoolExecutor(2))
    servicer = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    server.add_insecure_port(os.environ[f"HEADRACE_{sys.argv[1].upper()}_LISTEN"])
    server.start()
    signal.sigwait({signal.SIGTERM})
    server.stop(0.2).wait()
