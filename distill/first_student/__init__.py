"""The first student of a teacher: distilled from labelled rows, before there is a service or a job."""
