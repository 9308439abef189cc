"""Asks a service for its health: `python -m headrace_runtime.health host:port`, for container health checks.

A second word, the PEM file of the authority, asks a service that has a certificate. No token is needed.
"""

from __future__ import annotations

import sys
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

TIMEOUT_SECONDS = 3.0


def is_serving(address: str, authority: Path | None = None) -> bool:
    """Says whether the service at host:port answers that it is serving."""
    with _channel(address, authority) as channel:
        try:
            response = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(), timeout=TIMEOUT_SECONDS
            )
        except grpc.RpcError:
            return False
    return bool(response.status == health_pb2.HealthCheckResponse.SERVING)


def _channel(address: str, authority: Path | None) -> grpc.Channel:
    if authority is None:
        return grpc.insecure_channel(address)
    return grpc.secure_channel(address, grpc.ssl_channel_credentials(authority.read_bytes()))


if __name__ == "__main__":
    sys.exit(0 if is_serving(sys.argv[1], *map(Path, sys.argv[2:3])) else 1)
