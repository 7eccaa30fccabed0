//! Tests of the whole part: tokens that must be refused, keys that rotate, reloads.

use super::*;

mod hostile;
mod issuers;
mod load_balancer;
mod reloads;
mod rotation;
