"""Audits of the predictions of any model: from arrays (``audit``) or from a file (``audit_file``)."""

from biascon.auditing.api import audit, audit_file
from biascon.auditing.record import AuditRecord
from biascon.auditing.result import Audit

__all__ = ["Audit", "AuditRecord", "audit", "audit_file"]
