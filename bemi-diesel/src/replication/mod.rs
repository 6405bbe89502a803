//! The replication connection: slot, publication, progress and the task that reads.
