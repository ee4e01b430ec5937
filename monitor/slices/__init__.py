"""The slices of a sample in which the student disagrees with its teacher most: which requests moved."""
