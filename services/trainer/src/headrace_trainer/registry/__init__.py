"""What becomes of a model once it is made: registry, gate, canary, lineage, and what an erasure takes away."""
