"""Keep a study in SQLite, in PostgreSQL or behind a gRPC proxy, and its artifacts in files."""
