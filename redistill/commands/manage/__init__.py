"""Commands of an operator: jobs, models, incidents, alerts, labels, archive."""
