"""One training: data, loss, steps, and the checkpoints that it resumes from."""
