"""Learning from rows: the worker process of one run, and what it is made of. Knows no database, bus or service."""
