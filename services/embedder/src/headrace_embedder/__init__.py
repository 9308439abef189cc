"""The embedder: cuts documents into chunks and turns texts into vectors.

Owns nothing: it keeps no state, and any number of instances may run. Watches model.changed.
Consumes query.classified, query.replayed, document.classified, erasure.requested, erasure.verifying.
Emits query.embedded, document.embedded, erasure.applied, erasure.verified.
Serves headrace.embedding.v1.EmbeddingService.
"""
