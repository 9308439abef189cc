"""Who may read and write which topic, as Kafka's own access-control list: made from the contracts, denied by default.

A principal is a service by its short name, "products" for everybody outside, or "operator" for whoever looks after
dead letters. What the contracts cannot know is in REASONS, each with why.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from confluent_kafka import KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # it re-exports them without saying so
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)
from headrace import topics

from headrace_embedded.errors import NotReady

Operation = Literal["READ", "WRITE", "DELETE", "DESCRIBE"]
Resource = Literal["TOPIC", "GROUP"]

PRODUCTS = "products"
OPERATOR = "operator"
#: Makes topics and access-control lists, and passes every list: the broker itself, and what provisions it.
SUPERUSER = "broker"

#: How long the broker may take to write its list, in seconds.
SECONDS = 30.0


@dataclass(frozen=True, slots=True, order=True)
class Acl:
    """One thing that one principal may do, with a resource of that name or, where it ends in "*", all so begun."""

    principal: str
    operation: Operation
    resource: Resource
    name: str

    def binding(self) -> AclBinding:
        """Returns it as Kafka's clients have it."""
        pattern = ResourcePatternType.PREFIXED if self.name.endswith("*") else ResourcePatternType.LITERAL
        return AclBinding(
            ResourceType[self.resource],
            self.name.removesuffix("*"),
            pattern,
            f"User:{self.principal}",
            "*",
            AclOperation[self.operation],
            AclPermissionType.ALLOW,
        )


#: What the contracts' producers and consumers do not say.
REASONS: Mapping[Acl, str] = {
    **{
        Acl("ingest", "READ", "TOPIC", f"{topic.name}.dlq"): "a query or document that a service gave up ends at ingest"
        for topic in topics.ALL
        if topic.has_dead_letters and topic.name.startswith(("query.", "document."))
    },
    **{
        Acl(service, operation, "TOPIC", name): "an erasure takes raw records off the topic, past a marker"
        for service, name in (
            ("ingest", "query.submitted"),
            ("ingest", "document.submitted"),
            ("feedback", "feedback.submitted"),
            ("classifier", "erasure.requested"),
            ("classifier", "erasure.verifying"),
        )
        for operation in ("READ", "WRITE", "DELETE")
    },
    Acl("classifier", "DESCRIBE", "GROUP", "headrace.*"): "an erasure's own events go once every service has read them",
    Acl(OPERATOR, "DESCRIBE", "GROUP", "headrace.*"): "how far each service is behind",
    **{Acl(OPERATOR, "DESCRIBE", "TOPIC", topic.name): "how much each topic holds" for topic in topics.ALL},
    **{
        Acl(OPERATOR, "READ", "TOPIC", f"{topic.name}.dlq"): "dead letters are read; they hold nobody's words"
        for topic in topics.ALL
        if topic.has_dead_letters
    },
    **{
        # Not what comes from outside: it is raw, and its publisher sends it again.
        Acl(OPERATOR, operation, "TOPIC", topic.name): "an event that was given up is sent again as it was, sealed"
        for topic in topics.ALL
        if topic.has_dead_letters and not topic.json
        for operation in ("READ", "WRITE")
    },
}


def every_acl() -> list[Acl]:
    """Returns the whole list."""
    return sorted({*_of_the_contracts(), *REASONS})


def principals() -> tuple[str, ...]:
    """Returns everybody whom the list names."""
    return tuple(sorted({acl.principal for acl in every_acl()}))


def _of_the_contracts() -> Iterator[Acl]:
    for topic in topics.ALL:
        for principal in topics.PRODUCERS[topic.name]:
            yield Acl(principal, "WRITE", "TOPIC", topic.name)
        for principal in topics.CONSUMERS[topic.name]:
            yield Acl(principal, "READ", "TOPIC", topic.name)
            yield Acl(principal, "READ", "GROUP", _groups(principal))
            if topic.has_dead_letters and principal != PRODUCTS:
                yield Acl(principal, "WRITE", "TOPIC", f"{topic.name}.dlq")


def _groups(principal: str) -> str:
    return f"{PRODUCTS}.*" if principal == PRODUCTS else f"headrace.{principal}.*"


def put_acls(bootstrap: str, *, username: str, password: str) -> int:
    """Makes the broker's list hold all of `every_acl`, and returns how many that are. What it holds else stays.

    Raises NotReady when the broker refuses.
    """
    wanted = every_acl()
    put_all(open_admin(bootstrap, username, password), wanted)
    return len(wanted)


def open_admin(bootstrap: str, username: str, password: str) -> AdminClient:
    """Returns a client that may write the list. It connects at its first call."""
    return AdminClient(
        {
            "bootstrap.servers": bootstrap,
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "PLAIN",
            "sasl.username": username,
            "sasl.password": password,
        }
    )


def put_all(admin: AdminClient, wanted: Sequence[Acl]) -> None:
    """Adds to the broker's list. Raises NotReady when it refuses."""
    bindings = [acl.binding() for acl in wanted]
    try:
        for future in admin.create_acls(bindings, request_timeout=SECONDS).values():
            future.result(SECONDS)
    except KafkaException as error:
        raise NotReady(f"Kafka refused its access-control list: {error.args[0].name()}") from error


def jaas(passwords: Mapping[str, str], *, own: str = SUPERUSER) -> str:
    """Returns the broker's own login and the passwords that it knows, as one line of its properties.

    Passwords are of A-Z, a-z, 0-9, _, ., ~ and -.
    """
    users = " ".join(f'user_{name}="{password}"' for name, password in sorted(passwords.items()))
    login = "org.apache.kafka.common.security.plain.PlainLoginModule required"
    return f'{login} username="{own}" password="{passwords[own]}" {users};'
