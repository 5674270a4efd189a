//! Replay of fuzz corpora, for the test `fuzz_corpus` of each crate that has fuzz targets.

use std::{
    collections::BTreeSet,
    fs, panic,
    path::{Path, PathBuf},
};

/// Name of a target, and what it does with an input.
pub(crate) type Target = (&'static str, fn(&[u8]));

/// Feeds every target all of its corpus, `FOLDER/corpus/TARGET/*`.
///
/// # Panics
///
/// If a target panics, naming it and the input; if a target of the folder has no corpus or is not among the given ones.
pub(crate) fn replay(folder: &str, targets: &[Target]) {
    let folder = Path::new(folder);
    let replayed: BTreeSet<String> = targets.iter().map(|(name, _)| (*name).to_owned()).collect();
    let written = files(&folder.join("fuzz_targets")).into_iter();
    let written: BTreeSet<String> =
        written.map(|path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned()).collect();
    assert_eq!(replayed, written, "every target is replayed");
    for (name, fuzz) in targets {
        let inputs = files(&folder.join("corpus").join(name));
        assert!(!inputs.is_empty(), "{name} has no corpus; `testbed/fuzz --keep {name}` makes one");
        for path in inputs {
            let input = fs::read(&path).expect("a file of the corpus");
            if let Err(panic) = panic::catch_unwind(|| fuzz(&input)) {
                eprintln!("{name} failed on {}", path.display());
                panic::resume_unwind(panic);
            }
        }
        println!("{name}: replayed");
    }
}

/// Files of a folder, in the order of their names; none if there is no such folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    files.sort_unstable();
    files
}
