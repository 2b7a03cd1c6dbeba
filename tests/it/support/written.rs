//! Parts of files that tests write, and hold to what they should say.

use crate::operations::repository;

/// Compares the named part of a file with what it should be, or writes it where `UPDATE` is set.
pub(crate) fn is_written(path: &str, what: &str, part: &str) {
    let file = repository(path);
    let text = std::fs::read_to_string(&file).expect("the file is there");
    let begin = format!("<!-- {what}, written by UPDATE=1 cargo test --test it -->\n");
    let end = "<!-- end -->\n";
    let (before, rest) = text.split_once(&begin).expect("a line says where the part begins");
    let (written, after) = rest.split_once(end).expect("a line says where it ends");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&file, format!("{before}{begin}{part}{end}{after}")).expect("it is written");
        eprintln!("{path}: {what} was written");
        return;
    }
    assert!(written == part, "{path}: {what} is out of date; UPDATE=1 writes it:\n{part}");
}
