"""Several monitors in one daemon or worker, each isolated from the failures of the others."""
