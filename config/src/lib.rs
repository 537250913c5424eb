//! Causeway configuration.
