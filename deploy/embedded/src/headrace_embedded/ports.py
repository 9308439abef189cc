"""Ports on the loopback interface."""

from __future__ import annotations

import socket
import time

from headrace_embedded.errors import NotReady

HOST = "127.0.0.1"


def free_port() -> int:
    """Returns a port that nobody listens on now. Somebody may take it before its user does."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def is_free(port: int) -> bool:
    """Returns whether a server could listen on the port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def answers(port: int) -> bool:
    """Returns whether somebody accepts connections on the port."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((HOST, port)) == 0


def wait_until_free(port: int, *, deadline_s: float) -> None:
    """Waits until nobody listens on the port any more.

    Raises NotReady at the deadline.
    """
    end = time.monotonic() + deadline_s
    while answers(port):
        if time.monotonic() > end:
            raise NotReady(f"port {port} is still in use after {deadline_s:.0f} s")
        time.sleep(0.02)
