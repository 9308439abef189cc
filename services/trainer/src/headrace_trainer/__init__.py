"""The trainer: from a cause to a model that the gate let through, and on into service.

owns      runs, their causes and curves; the loop's rules and pauses; models
consumes  drift.detected, dataset.ended, answer.completed, feedback.recorded, erasure.requested, erasure.verifying
emits     training.ended, model.changed, erasure.applied, erasure.verified
serves    headrace.training.v1.TrainingService, LoopService, ModelService
"""
