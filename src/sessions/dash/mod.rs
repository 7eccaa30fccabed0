//! Live DASH over many upstream sessions.

pub(in crate::sessions) mod manifest;
mod offered;
mod render;
mod saved;
mod timeline;
mod xml;

pub(in crate::sessions) use saved::Kept;
pub(in crate::sessions) use timeline::{Behind, Periods};

#[cfg(test)]
mod tests {
    mod timeline;
}
