"""The archived samples: files, erasure, redaction, reuse of teacher scores."""
