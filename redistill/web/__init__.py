"""What monitoring systems and people read over HTTP. It imports no torch."""
