"""The worker: train, evaluate and promote a candidate."""
