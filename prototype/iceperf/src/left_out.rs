//! Parts of the program that are cargo features: which of them this build leaves out, and how to get them.
//!
//! `make demo` builds none of them, since they take most of the build's time.

/// Whether a value of the command line names a feature that this build leaves out.
pub(crate) fn is_feature(word: &str) -> bool {
    (word == "quiche" && !cfg!(feature = "quiche")) || (word == "webrtc-ice" && !cfg!(feature = "webrtc-ice"))
}

/// Error message for a feature that this build leaves out.
pub(crate) fn explain(feature: &str) -> String {
    format!(
        "'{feature}' is not built into this iceperf; `make build` in the project's folder builds target/release/iceperf \
         with it"
    )
}
