"""Events on Kafka with exactly-once effect.

Read in this order: envelope (what travels), codec (bytes to messages), worker (from a record to its effect), ledger
(inbox, outbox, relay), dead_letters, kafka (the bus that ties them together), memory (the same, without Kafka).
"""

from headrace_stream.envelope import Delivery, Event, Refusal
from headrace_stream.kafka import Bus, open_bus
from headrace_stream.ledger import Ledger, Unit

__all__ = ["Bus", "Delivery", "Event", "Ledger", "Refusal", "Unit", "open_bus"]
