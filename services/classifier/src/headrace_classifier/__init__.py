"""The privacy-tier classifier: decides the tier of every query and document, and masks its secrets.

Owns      the schema `classifier`: data keys, grants and their ends, the audit log, decisions on tiers, dictionaries,
          erasures
Consumes  query.accepted, document.accepted, erasure.applied, erasure.verified, erasure.requested, erasure.verifying,
          routing.changed, model.changed
Emits     query.classified, document.classified, grant.ended, every erasure.*
Serves    headrace.privacy.v1: PrivacyService, KeyService, ApprovalService, PolicyService, AuditService, ErasureService

Text flows one way: raw text → masking (secrets leave here) → detection (on masked text) → tier → event.
"""
