"""Two Headraces on one machine never want the same port."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

from headrace_embedded import ports

HOLDER = """
import sys, time
from headrace_embedded import ports
print(ports.reserve(int(sys.argv[1])), flush=True)
time.sleep(60)
"""


def test_a_reserved_port_is_given_to_nobody_else_before_it_is_bound(tmp_path: Path) -> None:
    first = ports.reserve()
    assert ports.is_free(first)
    elsewhere = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", HOLDER, str(first)]
    other = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=elsewhere)
    assert other.stdout is not None
    second = int(other.stdout.readline())
    assert second not in (0, first)
    assert ports.reserve(second) != second
    other.kill()
    other.wait()
    other.stdout.close()
    assert ports.reserve(second) == second


def test_a_port_that_is_bound_is_not_given() -> None:
    with socket.socket() as taken:
        taken.bind((ports.HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert ports.answers(port)
        assert ports.reserve(port) != port


def test_free_ports_lie_below_those_of_outgoing_connections() -> None:
    assert 21_000 <= ports.reserve() < 32_000
