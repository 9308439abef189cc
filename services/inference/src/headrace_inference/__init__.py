"""Inference: writes answers from passages, in batches, and checks what supports them.

Owns the schema `inference`: answers, prompts, variants.
Consumes query.retrieved.
Emits answer.chunk, answer.completed.
Serves headrace.inference.v1.InferenceService.
"""
