//! The wrapped connections: plain forwarding, plus the context in the same log.
