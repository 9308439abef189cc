"""Datasets: snapshots of the log and of rows that people wrote, under policy and grants row by row.

log ─▶ filtered, authorized in batches ─▶ opened, masked as it was, sealed anew ─▶ spilled
    ─▶ near-duplicates, balance, split (numbers only) ─▶ data.parquet, manifest.jsonl, card ─▶ snapshot
"""
