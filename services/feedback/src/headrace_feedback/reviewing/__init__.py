"""Reviews: which answers experts look at, against which rubric, how they label them, and how far they agree."""
