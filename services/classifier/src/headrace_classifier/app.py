"""The composition root: the only place that knows every part of the classifier."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from uuid import uuid4

import structlog
from headrace.privacy.v1.keys_pb2_grpc import add_KeyServiceServicer_to_server
from headrace.privacy.v1.service_pb2_grpc import add_PrivacyServiceServicer_to_server
from headrace_database import open_database
from headrace_privacy import Vault
from headrace_runtime.grpc_server import Servicer
from headrace_runtime.policy import load_policy
from headrace_runtime.service import Service
from headrace_stream import Ledger, open_bus
from headrace_stream.security import bus_security
from headrace_stream.trimming import Trimmer

from headrace_classifier.adapters.master_keys import master_keys_of
from headrace_classifier.adapters.names import PACKAGE, load_person_model
from headrace_classifier.adapters.postgres_changes import ChangeLog
from headrace_classifier.adapters.postgres_keys import PostgresKeys
from headrace_classifier.adapters.presidio import load_recognisers
from headrace_classifier.adapters.signing_checkpoints import try_to_make
from headrace_classifier.adapters.threads import ThreadedInspector, TimeLimit, open_inspector
from headrace_classifier.consumers import Consumers
from headrace_classifier.detection import PersonalDataDetector
from headrace_classifier.erasing import open_erasures
from headrace_classifier.governing import open_audit, open_governance, own_key
from headrace_classifier.inspection import TextDetector
from headrace_classifier.key_servicer import KeyServicer
from headrace_classifier.name_shapes import load_name_shapes
from headrace_classifier.name_words import load_given_names
from headrace_classifier.names import NameReader
from headrace_classifier.secret_masker import SecretMasker
from headrace_classifier.servicer import PrivacyServicer
from headrace_classifier.settings import Settings

log = structlog.get_logger()

#: Makes the recognisers load what they load at first use: the suffix list and the telephone metadata, 0.3 s.
_WARM_UP = (
    "warm.up@acme.com +1 212-555-1234 (212) 555-1234 020 7946 0018 DE89370400440532013000,"
    " said Ulrike Vandenbroucke, who met Gudmund Oyelaran there"
)


@asynccontextmanager
async def open_app(settings: Settings) -> AsyncIterator[Service]:
    """Opens everything that the classifier needs.

    Raises Conflict for a file that cannot be used, Unavailable when Kafka or Postgres is not there.
    """
    policy = load_policy(settings.policy)
    audit = open_audit(settings)
    async with AsyncExitStack() as stack:
        queries, documents = await _open_inspectors(settings, stack)
        database = await stack.enter_async_context(open_database(settings.database, schema="classifier"))
        ledger = Ledger(database)
        masters = master_keys_of(settings.master_key_file, settings.master_key.get_secret_value())
        keys = PostgresKeys(database, masters, now=lambda: datetime.now(UTC), new_id=uuid4)
        await keys.prepare()
        vault = Vault(keys, clock=time.monotonic)
        governance = await stack.enter_async_context(
            open_governance(database, policy, audit, ledger=ledger, vault=vault, settings=settings)
        )
        bus = await stack.enter_async_context(
            open_bus(settings.kafka, service="classifier", security=bus_security(settings))
        )
        consumers = Consumers(
            policy,
            queries,
            documents,
            vault,
            now=lambda: datetime.now(UTC),
            decisions=governance.decisions,
            dictionaries=governance.dictionaries,
        )
        consumers.subscribe(
            bus, queries_in_flight=settings.queries_in_flight, documents_in_flight=settings.documents_in_flight
        )
        ChangeLog(ledger, audit, policy.version, lambda: datetime.now(UTC)).subscribe(bus)
        servicers = [
            *governance.servicers,
            Servicer(
                add_PrivacyServiceServicer_to_server,
                PrivacyServicer(policy, queries, decisions=governance.decisions, dictionaries=governance.dictionaries),
                "headrace.privacy.v1.PrivacyService",
            ),
            Servicer(
                add_KeyServiceServicer_to_server,
                KeyServicer(keys, rotate=governance.recorded_rotation(keys.rotate)),
                "headrace.privacy.v1.KeyService",
            ),
        ]
        servicers.append(
            await stack.enter_async_context(
                open_erasures(
                    database,
                    ledger,
                    bus,
                    keys=keys,
                    vault=vault,
                    audit=audit,
                    policy=policy,
                    signer=own_key(settings),
                    checkpoint=partial(try_to_make, governance.checkpoints),
                    trimmer=Trimmer(settings.kafka, bus_security(settings)),
                )
            )
        )
        await stack.enter_async_context(ledger.relaying(bus))
        yield Service(bus=bus, servicers=servicers, record_denials=governance.record_denials)


async def _open_inspectors(settings: Settings, stack: AsyncExitStack) -> tuple[ThreadedInspector, ThreadedInspector]:
    """Opens one inspector for queries and calls, and one for documents."""
    masker, detector = SecretMasker(), _open_detector()
    detector.detect(_WARM_UP)
    limit = TimeLimit(settings.detection_seconds, settings.detection_seconds_per_mebibyte)
    queries, documents = [
        await stack.enter_async_context(open_inspector(masker, detector, limit=limit, threads=settings.threads))
        for _ in range(2)
    ]
    return queries, documents


def _open_detector() -> TextDetector:
    """Loads what detection needs, and says so where names will be found by their surroundings alone."""
    persons = load_person_model()
    if persons is None:
        log.warning("names are covered in part: the model is not installed", package=PACKAGE)
    return TextDetector(
        PersonalDataDetector(load_recognisers()), NameReader(load_given_names(), load_name_shapes()), persons
    )
