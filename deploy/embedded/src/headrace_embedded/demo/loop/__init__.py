"""The tour of the closed loop: from a shift in what users ask to a better model, and what an erasure asks of that."""
