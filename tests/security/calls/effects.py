"""What a Headrace has stored, told apart by a hash of each table and the end of each topic."""

from __future__ import annotations

from pathlib import Path

import asyncpg
from aiokafka import AIOKafkaConsumer, TopicPartition
from headrace_embedded.processes import Lifetime
from headrace_embedded.servers import postgres, provision

#: What grows without anybody being let in: the log of refusals, its checkpoints, and spans.
GROWING = {"classifier.audit", "classifier.checkpoints", "traces.spans"}
#: The inbox remembers which reports of refusals it has taken.
_INBOX = "SELECT md5(string_agg(t::text, '|' ORDER BY t::text)) FROM classifier.inbox t WHERE topic NOT LIKE '%/%'"


async def stored(home: Path, kafka: str) -> dict[str, str]:
    """A word for everything that is stored, by where."""
    return {**await _tables(home), **await _topics(kafka)}


async def _tables(home: Path) -> dict[str, str]:
    port = int((home / "postgres" / "data" / "postmaster.pid").read_text().splitlines()[3])
    server = postgres.open_server(home / "postgres", port, lifetime=Lifetime.PARENTS)
    connection = await asyncpg.connect(server.dsn(provision.DATABASE))
    try:
        names = await connection.fetch("SELECT schemaname || '.' || relname FROM pg_stat_user_tables ORDER BY 1")
        found = {}
        for (name,) in names:
            if name not in GROWING:
                sql = f"SELECT md5(string_agg(t::text, '|' ORDER BY t::text)) FROM {name} t"
                found[name] = str(await connection.fetchval(_INBOX if name == "classifier.inbox" else sql))
    finally:
        await connection.close()
    return found


async def _topics(kafka: str) -> dict[str, str]:
    async with AIOKafkaConsumer(bootstrap_servers=kafka) as consumer:
        ends = {}
        for topic in sorted(await consumer.topics()):
            partitions = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
            ends[f"topic {topic}"] = str(await consumer.end_offsets(partitions))
    return ends
