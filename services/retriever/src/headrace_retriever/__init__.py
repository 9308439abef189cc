"""Indexes chunks and finds the passages that may ground an answer.

Owns      the schema `retriever`: documents, chunks with their vectors and words, tombstones, the index's embedder;
          indexes of the tenants' own embedders.
Consumes  query.embedded, document.embedded, model.changed, erasure.requested, erasure.verifying
Emits     query.retrieved, document.indexed, erasure.applied, erasure.verified
Serves    headrace.retrieval.v1.RetrievalService
"""
