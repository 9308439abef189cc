"""The trainer: from a dataset snapshot to a model in service, through a gate and a canary."""
