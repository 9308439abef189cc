"""The verbs of one machine: up, down, status, doctor and demo."""
