//! HTTP API and operations.
