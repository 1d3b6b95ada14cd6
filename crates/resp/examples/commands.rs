//! Prints the built-in command table as the given engines see it.
//!
//! `cargo run -p tanist-resp --features tokio --example commands -- ADDRESS...` writes what belongs
//! into `src/table/builtin.txt`; of two engines that differ, the first one named counts.

use std::error::Error;
use std::io::Write;
use std::time::Duration;

use tanist_resp::{Command, CommandTable, Connection};

const DEADLINE: Duration = Duration::from_secs(10);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut merged: Option<CommandTable> = None;
    for address in std::env::args().skip(1) {
        let mut connection = Connection::connect(address.parse()?, DEADLINE).await?;
        let reply = connection.call(&Command::new("COMMAND"), DEADLINE).await?;
        let table = CommandTable::from_reply(&reply);
        merged = Some(match merged {
            Some(merged) => merged.merged_with(&table),
            None => table,
        });
    }
    let table = merged.ok_or("usage: commands ADDRESS...")?;
    std::io::stdout().write_all(table.to_text().as_bytes())?;
    Ok(())
}
