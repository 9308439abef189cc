"""The drift monitor: how the language of users, and what becomes of their queries, moves away from a baseline.

It keeps sketches, never text. What it measures with stands in `headrace_drift.measuring`, which is pure.
"""
