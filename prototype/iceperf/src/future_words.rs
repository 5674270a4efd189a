//! Words of the command line that the contract knows and this version does not.
//!
//! They are absent from the help; naming one says so, rather than that the word is unknown.

/// A long option of `server` or `client`.
pub(crate) fn is_option(word: &str) -> bool {
    let options = ["--scheduler", "--duplicate", "--cc", "--video", "--request", "--signal"];
    let name = word.split('=').next().unwrap_or(word);
    options.contains(&name)
}

/// An engine that comes later.
pub(crate) fn is_engine(word: &str) -> bool {
    ["tcp", "mptcp"].contains(&word)
}
