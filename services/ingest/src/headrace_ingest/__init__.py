"""The door: takes queries and documents in, and hands answers back.

owns      how each query and each document stands (queries, sources, documents, submissions), and each answer as it was
          given, its question masked; never a question as it was submitted, never a document's text
consumes  query.submitted, document.submitted, answer.chunk, answer.completed, document.indexed, and the dead letters of
          the way between; erasure.requested, erasure.verifying
emits     query.accepted, query.refused, document.accepted, document.refused, erasure.applied, erasure.verified
serves    QueryService, DocumentService
"""
