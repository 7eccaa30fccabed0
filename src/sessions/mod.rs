//! KVS playback sessions opened once, shared by many viewers.
mod continuity;
mod media_playlist;
mod numbering;
