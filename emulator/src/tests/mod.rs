//! The emulator as its clients meet it: over a socket, signed by the gateway's signer, decoded by ffmpeg.

use super::*;

mod client;
mod clients;
mod faults;
mod video;
mod wire;
