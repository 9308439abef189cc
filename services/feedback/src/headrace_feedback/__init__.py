"""The feedback logger: every interaction with all that made it, and what people thought of it.

owns      interactions, the chunks that each was made of, feedback
consumes  answer.completed, feedback.submitted, erasure.requested, erasure.verifying
emits     feedback.recorded, erasure.applied, erasure.verified
serves    headrace.feedback.v1.FeedbackService
"""
