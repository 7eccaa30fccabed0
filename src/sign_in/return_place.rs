//! Where in the console somebody was who signs in: the part of the address behind `#`.
//!
//! The console is one page at `/`, so nothing else is a place to come back to, and no sign-in can lead to
//! another path or another site.

/// The longest that is kept; the address of a camera and a time takes far less.
const LONGEST: usize = 512;

/// A place in the console, `#` included; or empty.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct ReturnPlace(String);

impl ReturnPlace {
    /// The place, or the beginning of the console if it is none.
    pub fn of(text: &str) -> Self {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?%".contains(&b);
        let inside = text.strip_prefix('#').filter(|inside| inside.bytes().all(fits));
        match inside {
            Some(_) if text.len() <= LONGEST => Self(text.to_owned()),
            _ => Self::default(),
        }
    }

    /// As it is written behind the address of the console.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_a_place_in_the_console_is_come_back_to() {
        for good in ["#/camera/cam-1", "#/camera/a%20b?at=2026-01-01T00:00:00Z", "#"] {
            assert_eq!(ReturnPlace::of(good).as_str(), good);
        }
        let long = format!("#{}", "x".repeat(LONGEST));
        for bad in [
            "",
            "/",
            "//evil.example",
            "https://evil.example",
            "#a\r\nSet-Cookie: a=b",
            "#a b",
            "#\"",
            &long,
            "#ä",
        ] {
            assert_eq!(ReturnPlace::of(bad).as_str(), "", "{bad}");
        }
    }
}
