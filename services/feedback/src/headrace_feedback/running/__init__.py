"""Runs: logged questions, or a dataset's, asked again of other variants; and answers whose documents have changed.

plan (which cases, may they be read) ─▶ conduct (few under way, query.replayed) ─▶ answer.trialed ─▶ stored, evaluated
"""
