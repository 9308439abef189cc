"""Detection of personal data, secrets and code on texts that it was never tuned on, beside a stock presidio.

python -m bench.privacy [--json PATH] [--strict] [--tuning] [--texts N]
"""
