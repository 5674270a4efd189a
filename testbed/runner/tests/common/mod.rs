//! What several test binaries share.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// `iceperf`: the one that TESTBED_ICEPERF names, else of the same target directory and profile, built if it is missing
/// or old. `make test` names the one that `cargo test --workspace` has built: by itself the package has other features
/// of its dependencies, which would all be built again.
pub(crate) fn iceperf() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        if let Some(path) = env::var_os("TESTBED_ICEPERF") {
            let path = PathBuf::from(path);
            assert!(path.is_file(), "TESTBED_ICEPERF names no file: {}", path.display());
            return path;
        }
        let testbed = Path::new(env!("CARGO_BIN_EXE_testbed"));
        let profile = testbed.parent().expect("a binary is in a profile's directory");
        let target = profile.parent().expect("a profile's directory is in the target directory");
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "--package", "iceperf", "--target-dir"]).arg(target);
        if profile.ends_with("release") {
            build.arg("--release");
        }
        // What cargo tells of this package, ring's build script would take for a change, and half of the dependencies
        // would be built anew, now and again when cargo is called from outside.
        for (name, _) in env::vars_os() {
            if ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|of| name.to_string_lossy().starts_with(of)) {
                build.env_remove(name);
            }
        }
        let status = build.current_dir(env!("CARGO_MANIFEST_DIR")).status().expect("cargo can be run");
        assert!(status.success(), "iceperf cannot be built: {status}");
        profile.join("iceperf")
    })
}
