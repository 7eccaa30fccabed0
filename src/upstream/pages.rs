//! Following `NextToken` through a listing of KVS (`docs/KVS.md` 2.2), with an end in any case.
//!
//! A listing ends when KVS gives no token. It also ends at a token that was followed before, whether on the
//! page before or on an earlier one: what follows is known already. A listing of more pages than its caller
//! expects is an error, because part of a listing must not be taken for the whole.

use super::error::Error;
use serde_json::Value;
use std::collections::HashSet;

/// The tokens of one listing.
#[derive(Debug)]
pub struct Pages {
    /// How many more pages may be requested.
    left: usize,
    followed: HashSet<String>,
}

impl Pages {
    /// A listing of at most `most` pages, the first one included.
    #[must_use]
    pub fn at_most(most: usize) -> Self {
        Self { left: most.saturating_sub(1), followed: HashSet::new() }
    }

    /// The token of the page after `page`, which is KVS's JSON answer; `None` at the end.
    ///
    /// # Errors
    /// [`Error::BrokenAnswer`]: there are more pages than expected.
    pub fn after(&mut self, page: &Value) -> Result<Option<String>, Error> {
        let Some(token) = page.get("NextToken").and_then(Value::as_str) else { return Ok(None) };
        if token.is_empty() || !self.followed.insert(token.to_owned()) {
            return Ok(None);
        }
        self.left = self
            .left
            .checked_sub(1)
            .ok_or_else(|| Error::BrokenAnswer("a listing has more pages than it may have".into()))?;
        Ok(Some(token.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Follows tokens that `next` makes of the page's number; gives how many pages were requested.
    fn pages(most: usize, next: impl Fn(usize) -> Value) -> Result<usize, Error> {
        let mut pages = Pages::at_most(most);
        let mut asked = 1;
        while pages.after(&json!({"NextToken": next(asked)}))?.is_some() {
            asked += 1;
            assert!(asked <= most, "page {asked}");
        }
        Ok(asked)
    }

    #[test]
    fn a_listing_ends_where_kvs_gives_no_token() {
        let three = |page: usize| if page < 3 { json!(page.to_string()) } else { Value::Null };
        assert_eq!(pages(10, three).unwrap(), 3);
        assert_eq!(pages(3, three).unwrap(), 3);
        assert_eq!(pages(10, |_| json!("")).unwrap(), 1);
    }

    #[test]
    fn paging_loops_stop_only_on_the_same_token_twice_in_a_row() {
        assert_eq!(pages(100, |_| json!("a")).unwrap(), 2);
        let alternating = |page: usize| json!(["a", "b", "c"][page % 3]);
        assert_eq!(pages(100, alternating).unwrap(), 4, "tokens that take turns end it too");
        let endless = |page: usize| json!(page.to_string());
        assert!(matches!(pages(100, endless), Err(Error::BrokenAnswer(_))), "and so does their number");
    }
}
