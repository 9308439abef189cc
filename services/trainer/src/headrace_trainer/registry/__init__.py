"""What becomes of a model once it is made: the registry, the gate, canaries, lineage, and what an erasure takes away."""
