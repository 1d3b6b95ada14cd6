//! The endpoints' names in `/etc/hosts`, while `tanist dev --hosts` runs.
//!
//! Asked for explicitly and only possible as root. The lines are between marks that name the data
//! directory, so that several installations and a person's own lines stay apart.
//!
//! Invariant: nothing outside the marks changes; the file is replaced whole or not at all.
//!
//! Not here: the names (`tanist_controller::Names`).

use std::io;
use std::path::Path;

use tanist_link::Client;
use tanist_link::api::EndpointName;

use crate::failure::Failure;
use crate::layout::Layout;

const HOSTS: &str = "/etc/hosts";

/// Keeps the block up to date.
#[derive(Debug)]
pub(crate) struct Keeper {
    mark: String,
}

impl Keeper {
    pub(crate) fn new(layout: &Layout) -> Self {
        Self { mark: mark(layout) }
    }

    /// Writes the names of everything that exists now.
    pub(crate) async fn update(&self, client: &Client) {
        let names: Vec<EndpointName> = match client.get("/v1/names").await {
            Ok(names) => names,
            Err(err) => {
                tracing::warn!(err = &err as &dyn std::error::Error, "asking for names");
                return;
            }
        };
        if let Err(err) = replace(Path::new(HOSTS), &self.mark, &names) {
            tracing::warn!(err = &err as &dyn std::error::Error, "writing {HOSTS}");
        }
    }
}

/// Refuses before anything is started if the file could not be kept.
pub(crate) fn check() -> Result<(), Failure> {
    let opened = std::fs::File::options().append(true).open(HOSTS);
    opened.map(drop).map_err(|err| {
        let remedy = "run as root, or without --hosts: endpoints are then shown as addresses";
        Failure::new("T642", format!("{HOSTS} cannot be written: {err}"), remedy)
    })
}

/// Removes the block.
pub(crate) fn clear(layout: &Layout) -> Result<(), Failure> {
    let text = std::fs::read_to_string(HOSTS).unwrap_or_default();
    if !text.contains(&mark(layout)) {
        return Ok(());
    }
    replace(Path::new(HOSTS), &mark(layout), &[]).map_err(|err| {
        let message = format!("the names in {HOSTS} could not be removed: {err}");
        Failure::new("T640", message, "remove the lines between the tanist marks by hand")
    })
}

fn mark(layout: &Layout) -> String {
    format!("tanist {}", layout.root().display())
}

fn replace(path: &Path, mark: &str, names: &[EndpointName]) -> io::Result<()> {
    let text = std::fs::read_to_string(path)?;
    let next = with_block(&text, mark, names);
    if next == text {
        return Ok(());
    }
    // A container may have the file as a mount, which cannot be renamed over.
    let draft = path.with_extension("tanist");
    let permissions = std::fs::metadata(path)?.permissions();
    let renamed = std::fs::write(&draft, &next)
        .and_then(|()| std::fs::set_permissions(&draft, permissions))
        .and_then(|()| std::fs::rename(&draft, path));
    if renamed.is_err() {
        // It may not have been written at all.
        let _ = std::fs::remove_file(&draft);
        return std::fs::write(path, next);
    }
    Ok(())
}

fn with_block(text: &str, mark: &str, names: &[EndpointName]) -> String {
    let (begin, end) = (format!("# {mark} begin"), format!("# {mark} end"));
    let mut next = String::new();
    let mut block: Option<Vec<&str>> = None;
    let mut keep = |line: &str| {
        next.push_str(line);
        next.push('\n');
    };
    for line in text.lines() {
        match &mut block {
            None if line == begin => block = Some(Vec::new()),
            None => keep(line),
            Some(_) if line == end => block = None,
            Some(lines) => lines.push(line),
        }
    }
    // Somebody removed the end mark: only lines that look like ours are ours.
    let ours = |line: &&str| line.starts_with("127.");
    block.unwrap_or_default().into_iter().skip_while(ours).for_each(keep);
    if !names.is_empty() {
        next.push_str(&format!("{begin}\n"));
        for name in names {
            next.push_str(&format!("{} {}\n", name.address, name.name));
        }
        next.push_str(&format!("{end}\n"));
    }
    next
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn name(text: &str) -> EndpointName {
        EndpointName { name: text.to_owned(), address: Ipv4Addr::new(127, 80, 1, 1) }
    }

    #[test]
    fn the_block_is_replaced_and_removed_and_nothing_else_changes() {
        let before = "127.0.0.1 localhost\n# mine\n";
        let with = with_block(before, "tanist /d", &[name("a.x")]);
        assert!(with.starts_with(before) && with.contains("127.80.1.1 a.x\n"), "{with}");
        let again = with_block(&with, "tanist /d", &[name("b.x")]);
        assert!(again.contains("b.x") && !again.contains("a.x"), "{again}");
        let other = with_block(&again, "tanist /other", &[name("c.x")]);
        assert_eq!(with_block(&with_block(&other, "tanist /d", &[]), "tanist /other", &[]), before);
    }

    #[test]
    fn a_block_whose_end_mark_was_removed_takes_no_other_line_with_it() {
        let broken = "127.0.0.1 localhost\n# tanist /d begin\n127.80.1.1 a.x\n10.0.0.1 mine\n";
        let cleared = with_block(broken, "tanist /d", &[]);
        assert_eq!(cleared, "127.0.0.1 localhost\n10.0.0.1 mine\n");
    }
}
