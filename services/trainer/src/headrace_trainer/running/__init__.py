"""Runs: what starts one, what it learns from, the worker that trains, and the switch that stops it all."""
