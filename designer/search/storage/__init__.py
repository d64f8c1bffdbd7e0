"""Where a study is kept: SQLite, PostgreSQL or a gRPC proxy, and its artifacts."""
