//! A supervisor by itself: `supervisor SOCKET STATE_DIR [LEADER_SOCKET]`. The tests start it, and it shows what a
//! binary has to offer besides: the hidden subcommand `exec-engine`.

use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tanist_agent::{LeaseConfig, SupervisorConfig, exec_engine, supervise};
use tanist_core::model::{HostId, Limits};
use tanist_link::{Client, Secret};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let result: Result<(), Box<dyn Error>> = match args.as_slice() {
        [word, program, config] if word == "exec-engine" => {
            Err(exec_engine(Path::new(program), Path::new(config)).into())
        }
        [socket, state_dir] => serve(socket, state_dir, None),
        [socket, state_dir, leader] => serve(socket, state_dir, Some(leader)),
        _ => Err("usage: supervisor SOCKET STATE_DIR [LEADER_SOCKET]".into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            // Without a standard error there is nobody to tell.
            let _ = writeln!(std::io::stderr(), "{err}");
            ExitCode::from(127)
        }
    }
}

fn serve(socket: &str, state_dir: &str, leader: Option<&String>) -> Result<(), Box<dyn Error>> {
    let config = SupervisorConfig {
        socket: PathBuf::from(socket),
        state_dir: PathBuf::from(state_dir),
        leases: leader.map(|leader| LeaseConfig {
            host: HostId::new("host-1"),
            secret: Secret::from_bytes([9; 32]),
            controllers: Client::new(leader),
            limits: Limits::DEFAULT,
        }),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(supervise(config))?)
}
