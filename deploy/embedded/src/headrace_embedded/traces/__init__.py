"""Keeps the spans of one machine and serves them, where no tracing system is at hand.

Owns: the schema `traces`, bounded by age and by rows. Consumes and emits nothing on the bus.
Serves: OpenTelemetry's TraceService.Export (OTLP over gRPC) and headrace.trace.v1.TraceService.GetTrace.

A sender never waits for the database: spans queue in memory, and what does not fit is dropped and counted.
"""
