"""Stop signals, child processes, logs and readiness."""
