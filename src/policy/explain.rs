//! Why: placeholder.
/// x
pub struct Explanation;
/// x
pub struct Nearest;
/// x
pub struct Part;
/// x
pub struct Verdict;
