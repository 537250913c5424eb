pub mod load;
mod prng;
pub mod process;
pub mod provision;
pub mod relay;
pub mod server;
pub mod verify;
