"""The one way out: requests to addresses that a tenant names, judged before a byte leaves. It knows nothing of jobs."""
