"""What Headrace costs and what it gains, each number beside a peer's from the same run.

One file per group of rows: bench/bench_<group>.py with `def rows(budget: Budget) -> list[Row]`. `python -m bench`
finds them, runs each in a process of its own and prints one table.
"""
