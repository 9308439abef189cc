"""The privacy-tier classifier: decides the tier of every query and document, and masks its secrets.

Owns nothing: no tables. Consumes query.accepted and document.accepted; emits query.classified and
document.classified. Serves headrace.privacy.v1.PrivacyService: Classify.

Text flows one way: raw text → masking (secrets leave here) → detection (on masked text) → tier → event.
"""
