"""librdkafka's in-process mock cluster as a process of its own, for machines without Java or Maven.

It lives in memory: a restart loses everything. It makes topics by itself, with 4 partitions, has no admin API, and
takes one consumer in each group.

    python -m headrace_embedded.servers.mock_kafka ADDRESS_FILE
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from confluent_kafka import Producer

from headrace_embedded import processes
from headrace_embedded.errors import NotReady
from headrace_embedded.processes import Lifetime

START_DEADLINE_S = 30.0
WARNING = "The bus is librdkafka's mock cluster: it is in memory, and what is on it is gone after `headrace down`."


@dataclass(slots=True)
class MockKafkaServer:
    """A bus in memory. Nothing runs until `start`; each start is an empty bus at a new address."""

    folder: Path
    lifetime: Lifetime
    bootstrap: str = ""
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def log(self) -> Path:
        """What it has to say."""
        return self.folder / "mock_kafka.log"

    @property
    def pid(self) -> int | None:
        """Its process while it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self, *, deadline_s: float = START_DEADLINE_S) -> None:
        """Brings it up and learns its address. Raises NotReady at the deadline or when it dies."""
        address = self.folder / "mock_kafka.address"
        address.unlink(missing_ok=True)
        command = [sys.executable, "-m", __spec__.name, str(address)]
        self._process = processes.spawn(command, log=self.log, lifetime=self.lifetime)
        end = time.monotonic() + deadline_s
        while not address.exists():
            if self._process.poll() is not None or time.monotonic() > end:
                self.kill()
                raise NotReady(f"the mock cluster did not come up. Its log ends:\n{processes.tail(self.log)}")
            time.sleep(0.05)
        self.bootstrap = address.read_text()

    def stop(self) -> None:
        """Ends it; what it held is lost."""
        if self._process is not None:
            processes.stop(self._process, grace_s=5.0)

    def kill(self) -> None:
        """Ends it as a crash would."""
        if self._process is not None:
            processes.kill(self._process)

    def restart(self) -> None:
        """Starts an empty one at a new address."""
        self.stop()
        self.start()


def open_server(folder: Path, *, lifetime: Lifetime) -> MockKafkaServer:
    """Returns a bus in memory; not started yet."""
    folder.mkdir(parents=True, exist_ok=True)
    return MockKafkaServer(folder, lifetime)


def main(address_file: Path) -> None:
    """Runs the cluster until SIGTERM, and writes its address once it serves."""
    # Any librdkafka client with this setting carries a cluster inside it; its own address is then never contacted.
    cluster = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "ignored", "log_level": 3})
    brokers = cluster.list_topics(timeout=START_DEADLINE_S).brokers.values()
    fresh = address_file.with_suffix(".new")
    fresh.write_text(",".join(f"{broker.host}:{broker.port}" for broker in brokers))
    fresh.replace(address_file)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    main(Path(sys.argv[1]))
