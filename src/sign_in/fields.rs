//! A list of byte strings as one, each behind its length in two bytes: the content of what is sealed here.

/// The fields as one byte string; `None` if one is longer than 65,535 bytes.
pub(super) fn join(fields: &[&[u8]]) -> Option<Vec<u8>> {
    let mut joined = Vec::with_capacity(fields.iter().map(|field| field.len() + 2).sum());
    for field in fields {
        joined.extend_from_slice(&u16::try_from(field.len()).ok()?.to_be_bytes());
        joined.extend_from_slice(field);
    }
    Some(joined)
}

/// The fields again, if they are all there and nothing else is.
pub(super) fn split(mut joined: &[u8]) -> Option<Vec<&[u8]>> {
    let mut fields = Vec::new();
    while !joined.is_empty() {
        let (length, rest) = joined.split_first_chunk::<2>()?;
        let (field, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        fields.push(field);
        joined = rest;
    }
    Some(fields)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn joined_and_split_is_the_same(fields: Vec<Vec<u8>>) {
            let borrowed: Vec<&[u8]> = fields.iter().map(Vec::as_slice).collect();
            let joined = join(&borrowed).unwrap();
            prop_assert_eq!(split(&joined).unwrap(), borrowed);
        }

        #[test]
        fn any_bytes_are_split_or_refused_without_panic(bytes: Vec<u8>) {
            let _ = split(&bytes);
        }
    }
}
