"""Learning from rows: the worker process of one run, and what it is made of. Knows no database, bus or service.

`python -m headrace_trainer.learning` reads a job and its rows from standard input and tells of its progress on standard
output; job.py says in which words, telling.py and failures.py what comes back. Text is held in memory only: no file, no
line of output and no error shows any of it.

Read in this order: job, telling, failures, order (which rows make which step), attention (several rows in one
sequence), text (rows to tokens), weights (the base, its adapters, the folder that is made), checkpoints, generator (the
loop), memorisation; kinds and embedder train the two small models; worker puts all of it together.
"""
