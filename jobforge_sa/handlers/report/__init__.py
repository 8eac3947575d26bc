"""`connector.report.generate`: reports of a tenant's own jobs, computed in SQL, rendered as JSON, HTML or CSV."""

from jobforge_sa.handlers.report.documents import JobAnalytics, Report, TenantUsage, UsageSummary, schemas
from jobforge_sa.handlers.report.request import GeneratedReport, ReportRequest

__all__ = ["GeneratedReport", "JobAnalytics", "Report", "ReportRequest", "TenantUsage", "UsageSummary", "schemas"]
