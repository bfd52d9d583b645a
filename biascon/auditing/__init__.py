"""Audits of predictions of any model: from arrays (``audit``) or from a file (``audit_file``)."""

from biascon.auditing.api import audit, audit_file
from biascon.auditing.result import Audit

__all__ = ["Audit", "audit", "audit_file"]
