"""Start, stop, settings, health and the gRPC server of a service."""
