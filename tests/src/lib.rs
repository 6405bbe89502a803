//! Throw-away PostgreSQL clusters for the demo and the tests.
