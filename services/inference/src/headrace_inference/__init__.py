"""Inference: writes answers from passages, in batches, and checks what supports them.

Owns the schema `inference`: answers, prompts, labels, variants, kinds, routes.
Consumes query.retrieved, query.shadowed, routing.changed, erasure.requested, erasure.verifying.
Emits answer.chunk, answer.completed, query.shadowed, answer.trialed, routing.changed, erasure.applied,
erasure.verified.
Serves headrace.inference.v1: InferenceService, PromptService, VariantService, RouteService.
"""
