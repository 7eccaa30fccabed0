//! Boxes of ISO/IEC 14496-12, whose sizes are filled in when they end.

/// A growing sequence of boxes.
#[derive(Default)]
pub(in crate::package) struct BoxWriter(Vec<u8>);

impl BoxWriter {
    pub(in crate::package) fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    /// A box; `content` writes what is inside.
    pub(in crate::package) fn boxed(&mut self, kind: &[u8; 4], content: impl FnOnce(&mut Self)) {
        let start = self.0.len();
        self.u32(0);
        self.bytes(kind);
        content(self);
        // No box of ours holds media: the longest is an index of 65,535 references.
        let size = (self.0.len() - start) as u32;
        self.set_u32(start, size);
    }

    /// A box with a version and flags.
    pub(in crate::package) fn full(
        &mut self,
        kind: &[u8; 4],
        version: u8,
        flags: u32,
        content: impl FnOnce(&mut Self),
    ) {
        self.boxed(kind, |boxes| {
            boxes.u32(u32::from(version) << 24 | flags);
            content(boxes);
        });
    }

    /// The head of a box whose content follows elsewhere.
    pub(in crate::package) fn head(&mut self, kind: &[u8; 4], size: u32) {
        self.u32(size);
        self.bytes(kind);
    }

    pub(in crate::package) fn u16(&mut self, value: u16) {
        self.bytes(&value.to_be_bytes());
    }

    pub(in crate::package) fn u32(&mut self, value: u32) {
        self.bytes(&value.to_be_bytes());
    }

    pub(in crate::package) fn u64(&mut self, value: u64) {
        self.bytes(&value.to_be_bytes());
    }

    pub(in crate::package) fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(in crate::package) fn zeros(&mut self, count: usize) {
        self.0.resize(self.0.len() + count, 0);
    }

    /// How many bytes are written.
    pub(in crate::package) fn len(&self) -> usize {
        self.0.len()
    }

    /// Writes a number over one that is there.
    pub(in crate::package) fn set_u32(&mut self, at: usize, value: u32) {
        self.0[at..at + 4].copy_from_slice(&value.to_be_bytes());
    }

    pub(in crate::package) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// Bytes of a box that says nothing: its head is eight of them.
pub(in crate::package) const FREE_HEAD: usize = 8;

/// Appends a `free` box of `size` bytes, its head included; `size` is at least [`FREE_HEAD`].
pub(in crate::package) fn free(boxes: &mut BoxWriter, size: usize) {
    boxes.boxed(b"free", |boxes| boxes.zeros(size.saturating_sub(FREE_HEAD)));
}
