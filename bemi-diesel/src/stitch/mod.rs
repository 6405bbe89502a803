//! From decoded messages to changes with their contexts. Pure.
