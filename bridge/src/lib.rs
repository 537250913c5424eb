//! The Causeway sidecar.
