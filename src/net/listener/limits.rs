//! `[limits]`: bounds on sizes, counts and times, with defaults for a listener on the public Internet.

use crate::setting::{ByteSize, Mistake, Span};
use serde::{Deserialize, Serialize};

/// `[limits]`. Every limit can be changed; zero never means "none".
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// All of a request's header lines with the request line; more is 431.
    pub header_block: ByteSize,
    /// One header's name and value; more is 431.
    pub one_header: ByteSize,
    /// How many headers; more is 431.
    pub header_count: usize,
    /// The request target; more is 414.
    pub url: ByteSize,
    /// A whole request body; more is 413.
    pub body_size: ByteSize,
    /// From the first byte of a request head, or from the start of a connection, to the end of the head.
    pub header_read: Span,
    /// From the first to the last byte of a request body.
    pub body_read_total: Span,
    /// Between two chunks of a request body.
    pub body_read_idle: Span,
    /// From accept to the end of the TLS handshake, PROXY protocol header included.
    pub tls_handshake: Span,
    /// Between two requests of a connection.
    pub keep_alive_idle: Span,
    /// After this many requests a connection is closed in good order.
    pub requests_per_connection: u32,
    /// After this time, 10 % more or less by chance, a connection is closed in good order.
    pub connection_age: Span,
    /// Connections of one listener.
    pub connections_total: usize,
    /// Connections of one address (IPv6: of one /64). Trusted proxies and Unix sockets are not counted.
    pub connections_per_address: u32,
    /// A response under way that moves no byte for this long is cut.
    pub write_stall: Span,
    /// A response under way that is held up by its reader and gets less than this per second, averaged over
    /// `write_window`, is cut.
    pub write_minimum: ByteSize,
    /// What `write_minimum` is averaged over.
    pub write_window: Span,
    /// What one connection buffers each way.
    pub buffer: ByteSize,
    /// What the process may use; at 95 % of it new requests are answered 503. Without it, the limit of the
    /// container or systemd unit counts, and without that nothing does. `0B` turns it off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<ByteSize>,
    /// HTTP/2: requests at a time on a connection.
    pub h2_streams: u32,
    /// HTTP/2: what a peer may send on one stream before we read it.
    pub h2_stream_window: ByteSize,
    /// HTTP/2: what a peer may send on all streams before we read it.
    pub h2_connection_window: ByteSize,
    /// HTTP/2: the largest frame we take, 16 KiB to 16 MiB.
    pub h2_frame: ByteSize,
    /// HTTP/2: a connection is cut when the peer abandoned this many requests before their end, or, after
    /// twice as many requests, half of all.
    pub h2_early_resets: u32,
    /// HTTP/2: resets that arrive for requests we have not looked at yet; more cuts the connection.
    pub h2_pending_resets: usize,
    /// HTTP/2: resets that the listener sends because of a peer's errors; more closes the connection.
    pub h2_error_resets: usize,
}

impl Default for Limits {
    fn default() -> Self {
        const fn kib(count: u64) -> ByteSize {
            ByteSize(count << 10)
        }
        Self {
            header_block: kib(32),
            one_header: kib(16),
            header_count: 64,
            url: kib(8),
            body_size: kib(64),
            header_read: Span::seconds(10),
            body_read_total: Span::seconds(15),
            body_read_idle: Span::seconds(5),
            tls_handshake: Span::seconds(10),
            keep_alive_idle: Span::seconds(60),
            requests_per_connection: 1_000,
            connection_age: Span::seconds(3600),
            connections_total: 10_000,
            connections_per_address: 256,
            write_stall: Span::seconds(30),
            write_minimum: kib(1),
            write_window: Span::seconds(60),
            buffer: kib(64),
            memory: None,
            h2_streams: 100,
            h2_stream_window: kib(64),
            h2_connection_window: kib(1024),
            h2_frame: kib(16),
            h2_early_resets: 250,
            h2_pending_resets: 20,
            h2_error_resets: 1_024,
        }
    }
}

impl Limits {
    /// The same, but where `one_header` allows a value of this size, the header's name fits too.
    #[must_use]
    pub fn with_room_for(mut self, value: ByteSize) -> Self {
        const NAME: u64 = 128;
        if self.one_header >= value {
            self.one_header = self.one_header.max(ByteSize(value.0 + NAME));
        }
        self
    }

    /// All mistakes, each at its key.
    #[must_use]
    pub fn check(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        let mut within = |key: &str, value: u64, least: u64, most: u64| {
            if !(least..=most).contains(&value) {
                mistakes.push(Mistake::at(
                    format!("limits.{key}"),
                    format!("{value} is out of bounds: write {least} to {most}"),
                ));
            }
        };
        within("header_block", self.header_block.0, 1 << 10, 1 << 20);
        within("one_header", self.one_header.0, 256, 1 << 20);
        within("header_count", self.header_count as u64, 8, 1_000);
        within("url", self.url.0, 256, 60 << 10);
        within("body_size", self.body_size.0, 1 << 10, 64 << 20);
        within("requests_per_connection", self.requests_per_connection.into(), 1, u64::from(u32::MAX));
        within("connections_total", self.connections_total as u64, 1, 10_000_000);
        within("connections_per_address", self.connections_per_address.into(), 1, u64::from(u32::MAX));
        within("write_minimum", self.write_minimum.0, 1, 1 << 30);
        within("buffer", self.buffer.0, 8 << 10, 16 << 20);
        within("h2_streams", self.h2_streams.into(), 1, 10_000);
        within("h2_stream_window", self.h2_stream_window.0, 1 << 10, (1 << 31) - 1);
        within("h2_connection_window", self.h2_connection_window.0, 65_535, (1 << 31) - 1);
        within("h2_frame", self.h2_frame.0, 16 << 10, (16 << 20) - 1);
        within("h2_early_resets", self.h2_early_resets.into(), 1, u64::from(u32::MAX / 2));
        for (key, span) in [
            ("header_read", self.header_read),
            ("body_read_total", self.body_read_total),
            ("body_read_idle", self.body_read_idle),
            ("tls_handshake", self.tls_handshake),
            ("keep_alive_idle", self.keep_alive_idle),
            ("connection_age", self.connection_age),
            ("write_stall", self.write_stall),
            ("write_window", self.write_window),
        ] {
            if span.0.is_zero() {
                mistakes
                    .push(Mistake::at(format!("limits.{key}"), "write a duration above zero, such as 10s"));
            }
        }
        mistakes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_table_and_pass_their_own_check() {
        let limits = Limits::default();
        assert_eq!(limits.check(), []);
        let shown = toml::to_string(&limits).unwrap();
        for line in ["header_block = \"32KiB\"", "keep_alive_idle = \"1m\"", "connections_total = 10000"] {
            assert!(shown.contains(line), "{shown}");
        }
        assert_eq!(toml::from_str::<Limits>(&shown).unwrap(), limits);
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        assert!(
            toml::from_str::<Limits>("header_blok = '1KiB'").unwrap_err().message().contains("header_blok")
        );
        let limits: Limits = toml::from_str("buffer = '1KiB'\nwrite_stall = '0s'").unwrap();
        let mistakes = limits.check();
        assert_eq!(mistakes.len(), 2);
        assert_eq!(
            mistakes[0],
            Mistake::at("limits.buffer", "1024 is out of bounds: write 8192 to 16777216")
        );
    }
}
