//! Reads the tracks of the committed MP4 files: frames in decode order with their places in presentation
//! order.
//!
//! The reader supports only the files that `make.sh` makes. Tests fail for any other file.

use bytes::Bytes;

/// One track of a file.
pub(super) struct Track {
    /// The frames in decode order.
    pub(super) frames: Vec<Bytes>,
    /// For each frame its place in presentation order.
    pub(super) places: Vec<usize>,
    /// For each frame whether it is a key frame.
    pub(super) keys: Vec<bool>,
    /// The content of avcC or hvcC, or the AudioSpecificConfig.
    pub(super) config: Bytes,
    /// Pixels across; 0 of sound.
    pub(super) width: u16,
    /// Pixels down; 0 of sound.
    pub(super) height: u16,
}

/// All tracks of a file.
pub(super) fn tracks(file: &Bytes) -> Vec<Track> {
    let moov = find(file, b"moov").expect("make.sh writes moov");
    let mut tracks = Vec::new();
    let mut rest = moov;
    while let Some(trak) = find(&rest, b"trak") {
        tracks.push(track(file, &path(&trak, &[b"mdia", b"minf", b"stbl"])));
        let used = trak.as_ptr() as usize - rest.as_ptr() as usize + trak.len();
        rest = rest.slice(used..);
    }
    tracks
}

fn track(file: &Bytes, table: &Bytes) -> Track {
    let frames = frames(file, table);
    let entry = path(table, &[b"stsd"]).slice(8..);
    let sound = &entry[4..8] == b"mp4a";
    // A visual sample entry is 8 bytes of box header and 78 of fields before its boxes, an audio one 8 +
    // 28.
    let (config, width, height) = if sound {
        (sound_config(&entry), 0, 0)
    } else {
        let boxes = entry.slice(86..);
        let config = find(&boxes, b"avcC").or_else(|| find(&boxes, b"hvcC"));
        let size = |at: usize| u16::from_be_bytes([entry[at], entry[at + 1]]);
        (config.expect("make.sh writes avcC or hvcC"), size(8 + 24), size(8 + 26))
    };
    let keys = match find(table, b"stss") {
        Some(stss) => {
            let mut keys = vec![false; frames.len()];
            (0..number(&stss, 4)).for_each(|n| keys[number(&stss, 8 + 4 * n) - 1] = true);
            keys
        }
        None => vec![true; frames.len()],
    };
    Track { places: places(table, frames.len()), keys, config, width, height, frames }
}

/// The AudioSpecificConfig is descriptor 5 of esds, lengths in four bytes.
fn sound_config(entry: &Bytes) -> Bytes {
    let esds = find(&entry.slice(36..), b"esds").expect("make.sh writes esds");
    let config = esds.windows(4).position(|w| w == [5, 0x80, 0x80, 0x80]).expect("ffmpeg writes it so");
    let length = usize::from(esds[config + 4]);
    esds.slice(config + 5..config + 5 + length)
}

/// The places in presentation order: the order of decode time and composition offset. All frames last
/// equally long.
fn places(table: &Bytes, count: usize) -> Vec<usize> {
    let Some(ctts) = find(table, b"ctts") else { return (0..count).collect() };
    let stts = path(table, &[b"stts"]);
    let duration = number(&stts, 12);
    let runs = (0..number(&ctts, 4))
        .flat_map(|run| std::iter::repeat_n(number(&ctts, 12 + 8 * run), number(&ctts, 8 + 8 * run)));
    let times: Vec<usize> = runs.enumerate().map(|(frame, offset)| frame * duration + offset).collect();
    let first = times.iter().min().copied().unwrap_or_default();
    times.into_iter().map(|time| (time - first) / duration).collect()
}

/// The frames of a track, by its sample table.
fn frames(file: &Bytes, table: &Bytes) -> Vec<Bytes> {
    let (sizes, chunks, runs) = (path(table, &[b"stsz"]), path(table, &[b"stco"]), path(table, &[b"stsc"]));
    let run = |n: usize| (number(&runs, 8 + 12 * n), number(&runs, 12 + 12 * n));
    let mut frames = Vec::new();
    let mut current = 0;
    for chunk in 0..number(&chunks, 4) {
        if current + 1 < number(&runs, 4) && run(current + 1).0 == chunk + 1 {
            current += 1;
        }
        let mut at = number(&chunks, 8 + 4 * chunk);
        for _ in 0..run(current).1 {
            let size = number(&sizes, 12 + 4 * frames.len());
            frames.push(file.slice(at..at + size));
            at += size;
        }
    }
    frames
}

/// The content of the first box of this kind among the boxes in `bytes`.
fn find(bytes: &Bytes, kind: &[u8; 4]) -> Option<Bytes> {
    let mut at = 0;
    while at + 8 <= bytes.len() {
        let size = number(bytes, at);
        if &bytes[at + 4..at + 8] == kind {
            return Some(bytes.slice(at + 8..at + size));
        }
        at += size;
    }
    None
}

fn path(bytes: &Bytes, kinds: &[&[u8; 4]]) -> Bytes {
    kinds.iter().fold(bytes.clone(), |inner, kind| find(&inner, kind).expect("make.sh writes every table"))
}

/// A 32-bit number.
pub(super) fn number(bytes: &[u8], at: usize) -> usize {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]) as usize
}
