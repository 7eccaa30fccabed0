//! KVS playback sessions opened once, shared by many viewers.
