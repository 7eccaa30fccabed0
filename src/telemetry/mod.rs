//! Log, metrics, audit log and spans; and the ids by which their lines are found together.

pub mod audit;
mod line_writer;
pub mod log;
pub mod metrics;
pub mod request_labels;
pub mod request_series;
pub mod spans;
pub mod trace;
