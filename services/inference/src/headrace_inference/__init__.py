"""Inference: writes answers from passages, in batches, and checks what supports them.

Owns the schema `inference`: answers, prompts, variants.
Consumes query.retrieved, erasure.requested, erasure.verifying.
Emits answer.chunk, answer.completed, erasure.applied, erasure.verified.
Serves headrace.inference.v1.InferenceService.
"""
