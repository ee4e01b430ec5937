"""The metrics of a model on labelled rows, and the gates for a candidate. All of it is pure."""
