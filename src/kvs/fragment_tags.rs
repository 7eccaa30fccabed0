//! The tags that KVS writes into each fragment it gives (docs/KVS.md 9.2).

use super::ebml::{self, EbmlFault, id};
use super::{FragmentNumber, Timestamp};

/// What KVS's tags say about a document.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct FragmentTags {
    /// Which fragment it is.
    pub number: Option<FragmentNumber>,
    /// When it reached KVS.
    pub server: Option<Timestamp>,
    /// When it began, by the producer's clock.
    pub producer: Option<Timestamp>,
    /// Such as `FRAGMENT_NOT_FOUND`, if the document is an error.
    pub error_code: Option<String>,
    /// Such as `3000`, if the document is an error.
    pub error_id: Option<String>,
}

impl FragmentTags {
    /// Reads the content of a Tags element. Names are those seen on the wire, and the documented ones.
    ///
    /// # Errors
    /// It is torn.
    pub fn read(content: &[u8]) -> Result<Self, EbmlFault> {
        let mut found = Self::default();
        ebml::each(content, |id, tag| if id == id::TAG { found.tag(tag) } else { Ok(()) })?;
        Ok(found)
    }

    /// Whether the document is an error in place of a fragment.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.error_code.is_some() || self.error_id.is_some()
    }

    fn tag(&mut self, content: &[u8]) -> Result<(), EbmlFault> {
        ebml::each(content, |id, simple| {
            if id != id::SIMPLE_TAG {
                return Ok(());
            }
            let (mut name, mut value) = (None, None);
            ebml::each::<EbmlFault>(simple, |id, content| {
                match id {
                    id::TAG_NAME => name = ebml::text(content),
                    id::TAG_STRING => value = ebml::text(content),
                    _ => {}
                }
                Ok(())
            })?;
            if let Some(name) = name {
                self.simple_tag(name, value);
            }
            Ok(())
        })
    }

    fn simple_tag(&mut self, name: &str, value: Option<&str>) {
        let time = || value.and_then(|value| Timestamp::parse(value).ok());
        match name.strip_prefix("AWS_KINESISVIDEO_") {
            Some("FRAGMENT_NUMBER") => {
                if let Some(value) = value {
                    self.number = FragmentNumber::parse(value).ok();
                }
            }
            Some("SERVER_TIMESTAMP" | "SERVER_SIDE_TIMESTAMP") => self.server = time(),
            Some("PRODUCER_TIMESTAMP" | "PRODUCER_SIDE_TIMESTAMP") => self.producer = time(),
            Some("ERROR_CODE" | "EXCEPTION_MESSAGE") => {
                self.error_code = Some(value.unwrap_or_default().to_owned());
            }
            Some("ERROR_ID" | "EXCEPTION_ERROR_CODE") => {
                self.error_id = Some(value.unwrap_or_default().to_owned());
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(id: &[u8], content: &[u8]) -> Vec<u8> {
        [id, &[0x40, u8::try_from(content.len()).unwrap()], content].concat()
    }

    fn tag(pairs: &[(&str, &str)]) -> Vec<u8> {
        let simple = pairs.iter().flat_map(|(name, value)| {
            let name = element(&[0x45, 0xA3], name.as_bytes());
            element(&[0x67, 0xC8], &[name, element(&[0x44, 0x87], value.as_bytes())].concat())
        });
        element(&[0x73, 0x73], &simple.collect::<Vec<u8>>())
    }

    #[test]
    fn both_spellings_are_read_and_nuls_at_the_end_are_padding() {
        let wire = tag(&[
            ("AWS_KINESISVIDEO_FRAGMENT_NUMBER", "42\0"),
            ("AWS_KINESISVIDEO_SERVER_TIMESTAMP\0", "1511852109.126"),
            ("AWS_KINESISVIDEO_PRODUCER_TIMESTAMP", "0.000"),
        ]);
        let found = FragmentTags::read(&wire).unwrap();
        assert_eq!(found.number.as_ref().unwrap().as_str(), "42");
        assert_eq!(found.server.unwrap().millis(), 1_511_852_109_126);
        assert_eq!(found.producer.unwrap().millis(), 0);
        assert!(!found.is_error());
        let documented = tag(&[
            ("AWS_KINESISVIDEO_SERVER_SIDE_TIMESTAMP", "1.5"),
            ("AWS_KINESISVIDEO_EXCEPTION_ERROR_CODE", "5000"),
            ("CAMERA", "front"),
        ]);
        let found = FragmentTags::read(&documented).unwrap();
        assert_eq!(found.server.unwrap().millis(), 1500);
        assert_eq!(found.error_id.as_deref(), Some("5000"));
        assert!(found.is_error());
    }

    #[test]
    fn a_torn_tag_is_an_error() {
        let whole = tag(&[("AWS_KINESISVIDEO_FRAGMENT_NUMBER", "42")]);
        assert_eq!(FragmentTags::read(&whole[..whole.len() - 1]), Err(EbmlFault::Torn));
    }
}
