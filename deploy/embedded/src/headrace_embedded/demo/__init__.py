"""A tour of Headrace on this machine: documents, the bus, gRPC, a trace, feedback, and the books."""
