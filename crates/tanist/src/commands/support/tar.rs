//! A file in a tar archive: a header of 512 bytes (POSIX ustar) and the content, padded to blocks.
//!
//! Written here because it is so little: names, lengths and times are all that is needed.
//!
//! Invariant: a name that does not fit is shortened at its front, never an error.
//!
//! Not here: what is packed (`super`).

use std::io::{self, Write};

const BLOCK: usize = 512;
/// Longest name.
const NAME: usize = 100;

/// What an archive ends with.
pub(super) const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// Appends a file.
pub(super) fn append(out: &mut impl Write, name: &str, content: &[u8], at: u64) -> io::Result<()> {
    out.write_all(&header(name, content.len() as u64, at))?;
    out.write_all(content)?;
    let rest = content.len() % BLOCK;
    let padding = if rest == 0 { 0 } else { BLOCK - rest };
    out.write_all(END.get(..padding).unwrap_or_default())
}

fn header(name: &str, length: u64, at: u64) -> [u8; BLOCK] {
    let mut header = [0; BLOCK];
    let mut put = |from: usize, bytes: &[u8]| {
        for (place, byte) in header.iter_mut().skip(from).zip(bytes) {
            *place = *byte;
        }
    };
    let name = name.as_bytes();
    put(0, name.get(name.len().saturating_sub(NAME)..).unwrap_or_default());
    put(100, b"0000600\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{length:011o}\0").as_bytes());
    put(136, format!("{at:011o}\0").as_bytes());
    // The sum counts its own field as spaces.
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    let sum = format!("{sum:06o}\0 ");
    for (place, byte) in header.iter_mut().skip(148).zip(sum.as_bytes()) {
        *place = *byte;
    }
    header
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn tar_reads_what_was_written() {
        let long = format!("dir/{}", "x".repeat(120));
        let mut archive = Vec::new();
        append(&mut archive, "dir/a", b"hello", 5).unwrap();
        append(&mut archive, &long, &[7; 1024], 5).unwrap();
        archive.extend(END);
        let mut tar = Command::new("tar");
        let tar = tar.args(["tvf", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut tar = tar.stderr(Stdio::piped()).spawn().unwrap();
        tar.stdin.take().unwrap().write_all(&archive).unwrap();
        let listed = tar.wait_with_output().unwrap();
        let text = String::from_utf8(listed.stdout).unwrap();
        assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(lines[0].starts_with("-rw-------") && lines[0].ends_with(" dir/a"), "{text}");
        assert!(lines[0].contains(" 5 ") && lines[1].contains(" 1024 "), "{text}");
        assert!(lines[1].ends_with(&"x".repeat(NAME)), "{text}");
    }
}
