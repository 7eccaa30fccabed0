//! The cache's shared state under a model checker; see `cache/world.rs`.

mod cache;

/// What `crate::net` has that the cache's files name.
mod net {
    pub mod body {
        #[derive(Clone, Debug)]
        #[allow(dead_code)] // shown when a scenario fails
        pub enum Broken {
            Cut(String),
            Stalled(std::time::Duration),
        }
    }
}

/// What `crate::kvs` has that the cache's files name.
mod kvs {
    #[derive(Clone, Copy)]
    pub struct Timestamp;
}

fn main() {
    cache::world::explore_all();
}
