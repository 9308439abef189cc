"""The feedback logger: every interaction with all that made it, and what people thought of it.

owns      interactions, the chunks that each was made of, feedback; runs and trials' answers
consumes  answer.completed, feedback.submitted, answer.trialed, document.indexed, erasure.requested, erasure.verifying
emits     feedback.recorded, query.replayed, erasure.applied, erasure.verified
serves    headrace.feedback.v1.FeedbackService, RunService
"""
