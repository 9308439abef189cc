"""Reports: which variant does better, on which evidence. Figures and names only; no text is read.

whose figures? ──▶ Authorize ──▶ sums and values, in one statement ──▶ intervals and verdicts ──▶ a sentence
"""
