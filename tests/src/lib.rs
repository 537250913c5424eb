//! What the tests share.

pub mod regions;
