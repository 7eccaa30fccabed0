//! Live DASH over many upstream sessions.

pub(super) mod manifest;
mod offered;
mod published;
mod recent;
mod render;
mod saved;
mod timeline;
mod xml;

pub(super) use saved::SavedTimeline;
pub(super) use timeline::{FragmentAt, Timeline};

#[cfg(test)]
mod tests {
    mod timeline;
}
