"""The trainer: from a cause to a model that the gate let through, and on into service.

owns      runs, their causes and curves; the loop's rules and pauses; models
consumes  drift.detected, dataset.ended
emits     training.ended, model.changed
serves    headrace.training.v1.TrainingService, LoopService, ModelService
"""
