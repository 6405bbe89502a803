//! The messages of the `pgoutput` plugin, from bytes. Pure.
