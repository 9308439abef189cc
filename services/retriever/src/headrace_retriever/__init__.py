"""Indexes chunks and finds the passages that may ground an answer.

Owns      the schema `retriever`: documents, chunks with their vectors and words, tombstones, the index's embedder.
Consumes  query.embedded, document.embedded, erasure.requested, erasure.verifying
Emits     query.retrieved, document.indexed, erasure.applied, erasure.verified
Serves    headrace.retrieval.v1.RetrievalService: Search
"""
