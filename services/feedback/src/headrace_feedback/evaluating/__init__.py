"""Measuring answers: by program on sampled traffic and in runs, and by judges whose agreement with experts is known.

put_task (in the transaction that stores an answer) ─▶ claim (lease) ─▶ authorize ─▶ evaluate ─▶ scores, event, span
"""
