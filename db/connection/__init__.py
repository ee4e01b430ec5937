"""Opening the database, migrating it, and waiting for it through an outage."""
