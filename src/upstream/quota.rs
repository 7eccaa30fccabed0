//! (being built) KVS's quotas.

use super::call::Ask;
use super::entry::Entry;
use super::error::Error;
use crate::kvs::{Call, Resource};
use std::any::Any;
use std::sync::Arc;

#[derive(Clone, Debug)]
pub(super) struct Cost;

impl Cost {
    pub(super) fn of_call(_: &Call) -> Self {
        Self
    }
    pub(super) fn of_resource(_: &Resource, _: u16, _: &str) -> Self {
        Self
    }
    pub(super) fn of_tags() -> Self {
        Self
    }
}

#[derive(Default)]
pub(super) struct Quotas;

impl Quotas {
    pub(super) async fn turn(&self, _: &Arc<Entry>, _: &Ask) -> Result<Option<Box<dyn Any + Send>>, Error> {
        Ok(None)
    }
    pub(super) fn throttled(&self, _: &Entry, _: &Ask) {}
}
