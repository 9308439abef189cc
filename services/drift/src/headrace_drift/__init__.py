"""The drift monitor: how the language of users, and what becomes of their queries, moves away from a baseline.

It keeps sketches, never text. What it measures with stands in `headrace_drift.measuring`, which is pure.

owns      sketches of the traffic, baselines, looks, alerts
consumes  answer.completed, query.embedded, feedback.recorded, answer.evaluated, model.changed, erasure.requested,
          erasure.verifying
emits     drift.detected, erasure.applied, erasure.verified
serves    headrace.drift.v1.DriftService
"""
