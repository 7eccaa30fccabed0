//! HTTP without TLS at a listener with TLS: a typed `http://` is answered in words, where the handshake would
//! end in a reset.

use super::connection_state::{ConnectionState, Stage};
use super::socket::Socket;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const MESSAGE: &str = "{\"Message\":\"this port speaks TLS: use https:// in the address\"}";
/// How much of the request is read and dropped, so that the peer reads the response before the connection
/// ends.
const MOST_DROPPED: usize = 1 << 20;

/// True if the client begins as HTTP does, with the capital letter of a method: TLS begins with the number 22
/// (RFC 8446, 5.1). Nothing is taken from the socket.
pub(super) async fn begins(socket: &Socket) -> bool {
    let mut first = [0];
    matches!(socket.peek(&mut first).await, Ok(1..) if first[0].is_ascii_uppercase())
}

/// Answers 400, whatever the request.
pub(super) async fn refuse(mut socket: Socket, state: &ConnectionState) {
    let length = MESSAGE.len();
    let response = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
         x-amzn-errortype: InvalidArgumentException\r\ncache-control: no-store\r\nconnection: close\r\n\r\n{MESSAGE}"
    );
    // The time limit of a connection that lingers holds from here on.
    state.enter(Stage::Lingering);
    if socket.write_all(response.as_bytes()).await.is_err() || socket.shutdown().await.is_err() {
        return;
    }
    let (mut scratch, mut dropped) = ([0; 4096], 0);
    while let Ok(read @ 1..) = socket.read(&mut scratch).await {
        dropped += read;
        if dropped > MOST_DROPPED {
            return;
        }
    }
}
