"""The stores of a request log: a folder or a bucket."""
