//! Mechanisms that several parts use, each written once. They know nothing of KVS, HTTP or any other part.

pub mod bucket;
pub mod clock;
pub mod digest;
pub mod fair;
pub mod fair_slots;
pub mod file_watch;
pub mod glob;
pub mod gzip;
pub mod hex;
pub mod percent;
pub mod process_owner;
pub mod room;
pub mod similar;
pub mod single_flight;
pub mod stored_text;
pub mod task;
pub mod version;
