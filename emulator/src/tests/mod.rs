//! The emulator seen from a client: over a socket, signed by AWS's signer, decoded by ffmpeg.

use super::*;

mod client;
mod clients;
mod faults;
mod video;
mod wire;
