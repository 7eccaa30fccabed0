//! A real edge in front of the emulator, each on port 0, and the people who use it.
//!
//! ```ignore
//! let edge = Edge::start().await;
//! let answer = edge.get("/streams/cam-1", edge.alice()).await;
//! assert_eq!(answer.status, 200);
//! ```

#![allow(dead_code)] // each promise uses its part of the harness

pub mod client;
pub mod edge;
pub mod faulty_link;
pub mod object_store;
pub mod program;
pub mod redis;
pub mod replica;
pub mod served;

#[allow(unused_imports)] // what each promise uses differs
pub use client::{Answer, Http};
pub use edge::{Edge, Setup};
#[allow(unused_imports)]
pub use program::{python, python_with, run, tool};
#[allow(unused_imports)]
pub use replica::{Replica, free_port};
#[allow(unused_imports)]
pub use served::Served;
