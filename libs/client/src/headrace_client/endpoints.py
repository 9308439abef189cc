"""Where Headrace is. The first of these that says so wins:

1. what the program passes to `Client.connect` or `--endpoints`;
2. the variable HEADRACE_ENDPOINTS: the path of a file as below, or "kafka=127.0.0.1:9092,ingest=127.0.0.1:7401,…";
3. `endpoints.json` in the folder that HEADRACE_HOME names, or in `.headrace` in it;
4. `.headrace/endpoints.json` in the current folder or the nearest one above it, which `headrace up` writes.

The file: {"kafka": "127.0.0.1:9092", "services": {"ingest": "127.0.0.1:7401", …, "traces": "127.0.0.1:7410"}}, and
beside them "keys", the folder of keys that tokens are made with, and "authority", the PEM file that the services'
certificates are verified with. The variable may name both too: "…,keys=/path,authority=/path".
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from headrace_client.errors import NotConfigured

VARIABLE = "HEADRACE_ENDPOINTS"
HOME = "HEADRACE_HOME"
FILE = Path(".headrace") / "endpoints.json"

_MEND = f"Start Headrace with `headrace up`, or name its addresses in {VARIABLE}."


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Addresses as "host:port"; several instances of one service as "host:port,host:port".

    keys: the folder of keys that tokens are made and events signed with. authority: the PEM file that the services'
    certificates are verified with; "" calls them without TLS.
    """

    kafka: str = ""
    services: Mapping[str, str] = field(default_factory=dict)
    origin: str = "the program"
    keys: str = ""
    authority: str = ""

    def service(self, name: str) -> str:
        """The address of a service, or NotConfigured."""
        address = self.services.get(name)
        if not address:
            raise NotConfigured(f"The address of {name} is not known: {self.origin} does not name it. {_MEND}")
        return address

    def bus(self) -> str:
        """Kafka's bootstrap servers, or NotConfigured."""
        if not self.kafka:
            raise NotConfigured(f"The address of Kafka is not known: {self.origin} does not name it. {_MEND}")
        return self.kafka


def find_endpoints(environ: Mapping[str, str], folder: Path) -> Endpoints:
    """The endpoints that the environment or a file in or above `folder` names, or NotConfigured."""
    if stated := environ.get(VARIABLE):
        return parse_endpoints(stated, origin=VARIABLE)
    for path in _candidates(environ, folder):
        if path.is_file():
            return read_endpoints(path)
    raise NotConfigured(f"Headrace is not running here: no {FILE} in this folder or above it. {_MEND}")


def _candidates(environ: Mapping[str, str], folder: Path) -> Iterator[Path]:
    if home := environ.get(HOME):
        yield Path(home).expanduser() / FILE.name
        yield Path(home).expanduser() / FILE
    for place in (folder, *folder.parents):
        yield place / FILE


def parse_endpoints(text: str, *, origin: str) -> Endpoints:
    """Reads "kafka=…,ingest=…" or the path of an endpoints file. An address after a comma without a name is one more
    instance of the service before it."""
    if "=" not in text:
        return read_endpoints(Path(text).expanduser())
    addresses: dict[str, str] = {}
    name = ""
    for part in text.split(","):
        key, equals, address = part.strip().partition("=")
        name = key if equals else name
        value = address if equals else key
        addresses[name] = f"{addresses[name]},{value}" if name in addresses else value
    kafka, keys, authority = (addresses.pop(key, "") for key in ("kafka", "keys", "authority"))
    return Endpoints(kafka=kafka, services=addresses, origin=origin, keys=keys, authority=authority)


def read_endpoints(path: Path) -> Endpoints:
    """Reads an endpoints file, or raises NotConfigured saying what is wrong with it."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Endpoints(
            kafka=content.get("kafka", ""),
            services=dict(content.get("services", {})),
            origin=str(path),
            keys=content.get("keys", ""),
            authority=content.get("authority", ""),
        )
    except OSError as error:
        raise NotConfigured(f"{path} cannot be read ({error.strerror}). {_MEND}") from error
    except (ValueError, AttributeError, TypeError) as error:
        raise NotConfigured(f"{path} is not an endpoints file. {_MEND}") from error
