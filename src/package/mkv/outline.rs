//! What a document holds besides frames, and where its blocks lie.

use super::block::{Block, MOST_FRAMES};
use super::track;
use super::walk::{Element, Walk};
use crate::kvs::FragmentTags;
use crate::kvs::ebml::{self, id};
use crate::package::{Document, Refusal, Track};
use std::ops::Range;

const TIMESTAMP_SCALE: u32 = 0x2A_D7B1;
const TIMESTAMP: u32 = 0xE7;
const SIMPLE_BLOCK: u32 = 0xA3;
const BLOCK_GROUP: u32 = 0xA0;
const BLOCK: u32 = 0xA1;
const REFERENCE_BLOCK: u32 = 0xFB;

/// More than the settings of eight tracks, or than the tags of AWS and of a producer, take.
const LONGEST: usize = 1 << 20;
/// RFC 9559: 1 ms if there is no TimestampScale.
const USUAL_TICK: u64 = 1_000_000;
/// A second: no producer counts in more.
const LONGEST_TICK: u64 = 1_000_000_000;

/// A document but for its frames.
pub(super) struct Outline {
    /// Of the first Tracks element.
    pub(super) tracks: Vec<Track>,
    /// Nanoseconds.
    pub(super) tick: u64,
    pub(super) tags: FragmentTags,
    /// In ticks.
    pub(super) cluster_time: i64,
    pub(super) places: Places,
    pub(super) blocks: Vec<Block>,
}

/// Where what is copied as it is lies in the document; see [`super::Fragment`].
#[derive(Default)]
pub(super) struct Places {
    pub(super) tracks_content: Range<usize>,
    pub(super) cluster: Range<usize>,
    pub(super) cluster_timestamp: Range<usize>,
}

impl Outline {
    pub(super) fn read(document: &Document) -> Result<Self, Refusal> {
        let mut walk = Walk::new(document);
        let header = walk.sized_element(0..document.len())?;
        if header.id != id::EBML {
            return Err(Refusal::Malformed("it does not begin with an EBML header"));
        }
        let segment = walk.element(header.content.end..document.len())?;
        if segment.id != id::SEGMENT {
            return Err(Refusal::Malformed("no Segment follows its EBML header"));
        }
        if segment.content.end != document.len() {
            return Err(Refusal::Malformed("something follows its Segment"));
        }
        Reading::new(walk).segment(segment.content)
    }
}

struct Reading<'d> {
    walk: Walk<'d>,
    tracks: Option<Vec<Track>>,
    tick: Option<u64>,
    tags: FragmentTags,
    cluster_time: Option<i64>,
    places: Places,
    blocks: Vec<Block>,
}

impl<'d> Reading<'d> {
    fn new(walk: Walk<'d>) -> Self {
        let tags = FragmentTags::default();
        Self {
            walk,
            tracks: None,
            tick: None,
            tags,
            cluster_time: None,
            places: Places::default(),
            blocks: Vec::new(),
        }
    }

    fn segment(mut self, content: Range<usize>) -> Result<Outline, Refusal> {
        let mut at = content.start;
        while at < content.end {
            let element = self.walk.element(at..content.end)?;
            at = element.content.end;
            match element.id {
                id::EBML => return Err(Refusal::Malformed("a second document follows")),
                id::CLUSTER => at = self.cluster(&element)?,
                _ => {
                    element.sized()?;
                    self.beside_cluster(&element)?;
                }
            }
        }
        if self.tags.is_error() {
            return Err(Refusal::InBand);
        }
        Ok(Outline {
            cluster_time: self.cluster_time.ok_or(Refusal::Unsupported("it has no media"))?,
            tracks: self.tracks.ok_or(Refusal::Malformed("it has no Tracks"))?,
            tick: self.tick.unwrap_or(USUAL_TICK),
            tags: self.tags,
            places: self.places,
            blocks: self.blocks,
        })
    }

    /// Of what a document may hold only once, the first counts: Matroska repeats Info and Tracks unchanged.
    fn beside_cluster(&mut self, element: &Element) -> Result<(), Refusal> {
        match element.id {
            id::INFO if self.tick.is_none() => {
                let content = self.walk.content(element, LONGEST)?;
                self.tick = Some(tick(&content)?);
            }
            id::TRACKS if self.tracks.is_none() => {
                let content = self.walk.content(element, LONGEST)?;
                self.tracks = Some(track::read(&content)?);
                self.places.tracks_content = element.content.clone();
            }
            id::TAGS => {
                let content = self.walk.content(element, LONGEST)?;
                let found = FragmentTags::read(&content)?;
                let tags = &mut self.tags;
                tags.number = tags.number.take().or(found.number);
                tags.server = tags.server.or(found.server);
                tags.producer = tags.producer.or(found.producer);
                tags.error_code = tags.error_code.take().or(found.error_code);
                tags.error_id = tags.error_id.take().or(found.error_id);
            }
            _ => {}
        }
        Ok(())
    }

    /// Returns where the Cluster ends.
    fn cluster(&mut self, cluster: &Element) -> Result<usize, Refusal> {
        if self.cluster_time.is_some() {
            return Err(Refusal::Unsupported("it has two Clusters"));
        }
        let mut time = 0;
        let Range { start: mut at, end } = cluster.content;
        self.places.cluster_timestamp = at..at;
        while at < end {
            let element = self.walk.element(at..end)?;
            let beside = id::ends_cluster(element.id) || element.id == id::EBML;
            if cluster.unknown_size && beside {
                break;
            }
            element.sized()?;
            let start = std::mem::replace(&mut at, element.content.end);
            match element.id {
                TIMESTAMP => {
                    time = ebml::unsigned(&self.walk.content(&element, LONGEST)?)?;
                    self.places.cluster_timestamp = start..at;
                }
                SIMPLE_BLOCK => self.block(Block::simple(element.content))?,
                BLOCK_GROUP => {
                    let block = self.block_group(element.content)?;
                    self.block(block)?;
                }
                _ => {}
            }
        }
        self.places.cluster = cluster.content.start..at;
        let time = i64::try_from(time);
        self.cluster_time = Some(time.map_err(|_| Refusal::Malformed("the time of its Cluster"))?);
        Ok(at)
    }

    fn block_group(&mut self, content: Range<usize>) -> Result<Block, Refusal> {
        let (mut place, mut refers) = (None, false);
        let mut at = content.start;
        while at < content.end {
            let element = self.walk.sized_element(at..content.end)?;
            at = element.content.end;
            match element.id {
                BLOCK => place = Some(element.content),
                REFERENCE_BLOCK => refers = true,
                _ => {}
            }
        }
        let place = place.ok_or(Refusal::Malformed("a BlockGroup has no Block"))?;
        Ok(Block::of_group(place, !refers))
    }

    fn block(&mut self, block: Block) -> Result<(), Refusal> {
        if self.blocks.len() == MOST_FRAMES {
            return Err(Refusal::TooLarge("frames"));
        }
        self.blocks.push(block);
        Ok(())
    }
}

fn tick(info: &[u8]) -> Result<u64, Refusal> {
    let mut tick = USUAL_TICK;
    ebml::each::<Refusal>(info, |id, content| {
        if id == TIMESTAMP_SCALE {
            tick = ebml::unsigned(content)?;
        }
        Ok(())
    })?;
    if tick == 0 || tick > LONGEST_TICK {
        return Err(Refusal::Malformed("its TimestampScale is 0 or more than a second"));
    }
    Ok(tick)
}
