"""Apache Kafka in KRaft mode, one broker that is its own controller, from Maven's jars.

State is a folder: `server.properties` and `log4j2.xml` are written at each start, `data/` is formatted once and kept.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from headrace_embedded import ports, processes
from headrace_embedded.errors import Missing, NotReady
from headrace_embedded.house import HOUSE
from headrace_embedded.processes import Lifetime
from headrace_embedded.servers import acls

JARS = HOUSE / "jars"
CHECKSUMS = HOUSE / "jars.sha256"
POM = HOUSE / "pom.xml"

#: Kafka 4 runs on this Java or a newer one.
JAVA_NEEDED = 17
JAVA_MEND = (
    f"install a Java {JAVA_NEEDED} runtime (Debian: apt install openjdk-17-jre-headless) or set HEADRACE_BUS=mock"
)
MAVEN_MEND = "install Maven (Debian: apt install maven) or set HEADRACE_BUS=mock"

#: Client VM settings: a small heap and the quick compiler bring the broker up in 2 s at about 380 MB.
JVM = (
    "-Xms96m",
    "-Xmx512m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:-UsePerfData",
    "-Djava.awt.headless=true",
)

START_DEADLINE_S = 60.0
STOP_GRACE_S = 20.0

_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=CLIENTS://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=CLIENTS://127.0.0.1:{port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=CLIENTS
log.dirs={data}
auto.create.topics.enable=false
delete.topic.enable=true
num.partitions=8
num.network.threads=2
num.io.threads=4
background.threads=2
num.recovery.threads.per.data.dir=2
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
message.max.bytes=10485760
replica.fetch.max.bytes=10485760
socket.request.max.bytes=20971520
log.cleaner.dedupe.buffer.size=4194304
log.index.size.max.bytes=1048576
# What an erasure takes off a topic leaves the disk so soon.
log.retention.check.interval.ms=2000
log.initial.task.delay.ms=1000
# A group starts at once, and a broker that was killed is let in again soon.
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
initial.broker.registration.timeout.ms=30000
"""

#: Whoever reaches the port may do everything: the bus of one machine, and of one user.
_OPEN = """\
listener.security.protocol.map=CLIENTS:PLAINTEXT,CONTROLLER:PLAINTEXT
"""

#: Every client has a name and a password, and may do what the access-control list says: nothing by default.
_SECURED = """\
listener.security.protocol.map=CLIENTS:SASL_PLAINTEXT,CONTROLLER:SASL_PLAINTEXT
sasl.enabled.mechanisms=PLAIN
sasl.mechanism.inter.broker.protocol=PLAIN
sasl.mechanism.controller.protocol=PLAIN
listener.name.clients.plain.sasl.jaas.config={jaas}
listener.name.controller.plain.sasl.jaas.config={jaas}
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=false
super.users=User:{superuser}
"""

_LOG4J2 = """\
<?xml version="1.0" encoding="UTF-8"?>
<Configuration status="error">
  <Appenders>
    <RollingFile name="file" fileName="{log}" filePattern="{log}.%i">
      <PatternLayout pattern="%d %p %c{{1}}: %m%n"/>
      <SizeBasedTriggeringPolicy size="5 MB"/>
      <DefaultRolloverStrategy max="2"/>
    </RollingFile>
  </Appenders>
  <Loggers><Root level="warn"><AppenderRef ref="file"/></Root></Loggers>
</Configuration>
"""


@dataclass(slots=True)
class KafkaServer:
    """A broker on this machine. Nothing runs until `start`.

    passwords: those of its clients by name, its own among them; without any it lets everybody do everything.
    """

    folder: Path
    port: int
    lifetime: Lifetime
    controller_port: int = 0
    passwords: Mapping[str, str] = field(default_factory=dict, repr=False)
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def bootstrap(self) -> str:
        """Where clients connect."""
        return f"{ports.HOST}:{self.port}"

    @property
    def log(self) -> Path:
        """What the broker has to say, WARN and above."""
        return self.folder / "kafka.log"

    @property
    def pid(self) -> int | None:
        """The broker's process while it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self, *, deadline_s: float = START_DEADLINE_S) -> None:
        """Brings the broker up on its data of before, and returns once it serves.

        Raises Missing without Java or the jars, NotReady at the deadline or when it dies.
        """
        if self.pid is not None:
            return
        properties = self._configure()
        self._format(properties)
        self._process = self._spawn(properties)
        self._wait(time.monotonic() + deadline_s)

    def stop(self) -> None:
        """Ends it as an operator would: it closes its log and hands over cleanly."""
        if self._process is not None:
            processes.stop(self._process, grace_s=STOP_GRACE_S)

    def kill(self) -> None:
        """Ends it as a crash would."""
        if self._process is not None:
            processes.kill(self._process)

    def restart(self) -> None:
        """Stops what is left of it and starts it on the same port and data."""
        self.stop()
        self.start()

    def _configure(self) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.controller_port = self.controller_port or ports.reserve()
        properties = self.folder / "server.properties"
        data = self.folder / "data"
        common = _PROPERTIES.format(port=self.port, controller_port=self.controller_port, data=data)
        _write_private(properties, common + self._admission())
        (self.folder / "log4j2.xml").write_text(_LOG4J2.format(log=self.log))
        return properties

    def _admission(self) -> str:
        if not self.passwords:
            return _OPEN
        return _SECURED.format(jaas=acls.jaas(self.passwords), superuser=acls.SUPERUSER)

    def _format(self, properties: Path) -> None:
        if (self.folder / "data" / "meta.properties").exists():
            return
        # One id in 64 begins with a hyphen, and would be read as an option of its own.
        cluster = f"--cluster-id={_cluster_id()}"
        command = self._java("kafka.tools.StorageTool", "format", cluster, "-c", str(properties))
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - the command is ours
        if done.returncode:
            raise NotReady(f"Kafka's storage could not be formatted in {self.folder}: {done.stderr.strip()[-500:]}")

    def _spawn(self, properties: Path) -> subprocess.Popen[bytes]:
        command = self._java("kafka.Kafka", str(properties))
        return processes.spawn(command, log=self.folder / "kafka.out", lifetime=self.lifetime)

    def _java(self, *arguments: str) -> list[str]:
        settings = [f"-Dlog4j2.configurationFile={self.folder / 'log4j2.xml'}", "-cp", f"{JARS}/*"]
        return [java(), *JVM, *settings, *arguments]

    def _wait(self, end: float) -> None:
        assert self._process is not None
        while not ports.answers(self.port):
            if self._process.poll() is not None:
                raise NotReady(f"Kafka ended during its start. {self._last_words()}")
            if time.monotonic() > end:
                processes.kill(self._process)
                raise NotReady(f"Kafka did not come up in time. {self._last_words()}")
            time.sleep(0.05)

    def _last_words(self) -> str:
        return f"Its log, {self.log}, ends:\n{processes.tail(self.log) or processes.tail(self.folder / 'kafka.out')}"


def open_server(
    folder: Path, port: int, *, lifetime: Lifetime, passwords: Mapping[str, str] | None = None
) -> KafkaServer:
    """Returns a broker that keeps its state in `folder`; not started yet. Port 0 takes a free one.

    With `passwords` of its clients by name, the superuser's among them, it admits nobody else, and lets each do what
    its access-control list says.
    """
    return KafkaServer(folder.resolve(), port or ports.reserve(), lifetime, passwords=passwords or {})


def _write_private(path: Path, text: str) -> None:
    """Writes what only its owner may read: there may be passwords in it."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)


def java() -> str:
    """Finds a Java that can run Kafka.

    Raises Missing, with the mend.
    """
    home = os.environ.get("JAVA_HOME", "")
    found = shutil.which("java", path=f"{home}/bin") if home else None
    found = found or shutil.which("java")
    if found is None:
        raise Missing(f"no java on the PATH: {JAVA_MEND}")
    version = java_version(found)
    if version < JAVA_NEEDED:
        raise Missing(f"{found} is Java {version}, Kafka needs {JAVA_NEEDED} or newer: {JAVA_MEND}")
    return found


def java_version(java_path: str) -> int:
    """Returns the major version of a Java, 0 where it can't be read."""
    said = subprocess.run([java_path, "-version"], capture_output=True, text=True, check=False).stderr  # noqa: S603
    match = re.search(r'version "(\d+)', said)
    return int(match[1]) if match else 0


def has_jars() -> bool:
    """Returns whether every pinned jar is in place."""
    return all((JARS / name).exists() for name in _pinned())


def fetch_jars(progress: Callable[[str], None]) -> None:
    """Fetches Kafka's jars once, and checks each against its pinned SHA-256.

    Raises Missing without Maven or the network, or when a jar is not what was pinned.
    """
    if has_jars():
        return
    with _only_one():
        if not has_jars():
            progress("Fetching Kafka's jars with Maven (43 MB, once)")
            _download()


def _download() -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise Missing(f"no mvn on the PATH: {MAVEN_MEND}")
    fresh = JARS.with_name("jars.new")
    shutil.rmtree(fresh, ignore_errors=True)
    # -C fails on a checksum that does not match the repository's; ours are checked below.
    goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={fresh}"]
    done = subprocess.run([maven, "-B", "-q", "-C", "-f", str(POM), *goal], capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise Missing(f"Maven could not fetch Kafka's jars: {done.stdout.strip()[-500:]}")
    verify(fresh)
    shutil.rmtree(JARS, ignore_errors=True)
    fresh.rename(JARS)


def verify(folder: Path) -> None:
    """Checks each jar of the folder against its pinned SHA-256.

    Raises Missing, naming the first that differs.
    """
    for name, pinned in _pinned().items():
        jar = folder / name
        if not jar.exists() or hashlib.sha256(jar.read_bytes()).hexdigest() != pinned:
            raise Missing(f"{name} is not the jar that {CHECKSUMS.name} pins: nothing was installed")


def _pinned() -> dict[str, str]:
    lines = (line.split() for line in CHECKSUMS.read_text().splitlines())
    return {name: digest for digest, name in lines}


@contextmanager
def _only_one() -> Iterator[None]:
    with (HOUSE / ".jars.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _cluster_id() -> str:
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
