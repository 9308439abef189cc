"""Where the log rests: Postgres, or memory for tests."""
