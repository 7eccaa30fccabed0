//! GetMediaForFragmentList: Matroska chunks in the order of the request. A missing fragment is an error
//! chunk in a 200 (docs/KVS.md 4.3, 9.2).

use super::call::Call;
use crate::answer::{Answer, KvsError};
use crate::archive::Fragment;
use crate::media::mkv;
use crate::number::FragmentNumber;
use crate::stream::Stream;
use bytes::Bytes;

/// Bodies that are sent at the same time, per stream (docs/KVS.md 6).
const CONNECTIONS: usize = 5;

pub(super) fn get_media_for_fragment_list(call: &Call<'_>) -> Result<Answer, KvsError> {
    let wanted = call.members.fragment_numbers("Fragments")?;
    let stream = call.stream()?;
    let mut found: Vec<Chunk> =
        wanted.iter().map(|text| find(call, &stream, text)).collect::<Result<_, _>>()?;
    if let Some((code, id)) = &call.in_band_error {
        found[0] = Chunk::Error { number: wanted[0].to_owned(), code: code.clone(), id: id.clone() };
    }
    let connection = call.state.connections.open(call.tenant, &stream.name);
    if call.state.config.quotas && connection.before >= CONNECTIONS {
        let message = format!("Connection limit exceeded for resource '{}'", stream.name);
        return Err(KvsError::new(400, "ConnectionLimitExceededException", message));
    }
    call.state.charge_points(&stream, 0, wanted.len())?;
    for chunk in &found {
        if let Chunk::Fragment(fragment) = chunk {
            call.state.counters().resource(format!("fragment {}", fragment.number));
        }
    }
    let mut answer = Answer::parts("video/webm", found.into_iter().map(move |chunk| chunk.bytes(&stream)));
    answer.connection = Some(connection);
    Ok(answer)
}

enum Chunk {
    Fragment(Fragment),
    Error { number: String, code: String, id: String },
}

impl Chunk {
    fn bytes(&self, stream: &Stream) -> Bytes {
        match self {
            Self::Fragment(f) => stream.archive.chunk(f),
            Self::Error { number, code, id } => mkv::error_chunk(number, code, id),
        }
    }
}

/// A number of another stream is an invalid argument; any other unknown number gives an error chunk.
fn find(call: &Call<'_>, stream: &Stream, text: &str) -> Result<Chunk, KvsError> {
    let number = FragmentNumber::parse(text);
    let kept = number.filter(|_| !call.no_data).and_then(|number| stream.archive.find(number, call.now));
    if let Some(fragment) = kept.filter(|fragment| !call.is_missing(fragment)) {
        return Ok(Chunk::Fragment(fragment));
    }
    let streams = call.state.streams(call.tenant);
    let foreign =
        |number| streams.iter().any(|other| other.name != stream.name && other.archive.issued(number));
    if number.is_some_and(foreign) {
        return Err(KvsError::invalid(format!("Fragment numbers are invalid : {text}")));
    }
    Ok(Chunk::Error { number: text.to_owned(), code: "FRAGMENT_NOT_FOUND".into(), id: "3000".into() })
}
