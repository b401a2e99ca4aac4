//! `lbd`, the daemon.

use std::{
    env, io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{CommandFactory as _, Parser};
use lb_user::{daemon, logging, manual, probe::exec};
use nix::{errno::Errno, unistd::geteuid};

/// The daemon of a Direct Server Return load balancer on XDP.
///
/// Loads the VIPs of the configuration into the datapath, follows the neighbours, announces the
/// addresses, and serves `lbctl`. Stopping or killing it does not stop forwarding; `lbctl detach`
/// does.
#[derive(Parser)]
#[command(name = "lbd", version, after_help = "Example:\n  lbd --config /etc/lb/lb.toml")]
struct Arguments {
    /// The configuration file.
    #[arg(long, value_name = "FILE", default_value = "/etc/lb/lb.toml")]
    config: PathBuf,
    /// Check the file and exit: 0 if it is good, 2 with what is wrong if not.
    #[arg(long)]
    check: bool,
    /// Stop forwarding when no daemon runs: detach XDP, remove pins, announced addresses and what checks left.
    #[arg(long, conflicts_with = "check")]
    detach: bool,
}

fn main() -> ExitCode {
    // Started by the daemon itself, never by anyone else.
    if env::args_os().nth(1).is_some_and(|argument| argument == exec::HELPER) {
        return exec::helper();
    }
    // By whoever makes a package.
    if let [_, word, directory] = &*env::args_os().collect::<Vec<_>>()
        && word == "package-files"
    {
        return package_files(Path::new(directory));
    }
    let arguments = Arguments::parse();
    logging::start();
    if arguments.check {
        return match daemon::check(&arguments.config) {
            Ok(model) => {
                println!("{}: good, {} VIPs", arguments.config.display(), model.vips.len());
                ExitCode::SUCCESS
            }
            Err(error) => bad(&error),
        };
    }
    let config = match daemon::configuration(&arguments.config) {
        Ok(config) => config,
        Err(error) => return bad(&error),
    };
    let result = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Into::into)
        .and_then(|runtime| {
            runtime.block_on(async {
                if arguments.detach {
                    daemon::detach(&config.model).await
                } else {
                    daemon::run(config).await
                }
            })
        });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lbd: {error:#}{}", hint(&error));
            ExitCode::FAILURE
        }
    }
}

/// Says what is wrong with the configuration.
fn bad(error: &anyhow::Error) -> ExitCode {
    eprintln!("{error:#}");
    ExitCode::from(2)
}

/// Writes the manual page and the completions below the directory that stands for the root.
fn package_files(root: &Path) -> ExitCode {
    let see_also = "lbctl(8), lb.toml(5), lbctl-dsr(7), lbctl-troubleshooting(7)";
    let page = manual::of_command(&Arguments::command(), see_also);
    let written = page
        .and_then(|page| manual::write(&root.join("usr/share/man/man8/lbd.8"), &page))
        .and_then(|()| manual::complete(&mut Arguments::command(), "lbd", root));
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", root.display());
            ExitCode::FAILURE
        }
    }
}

/// What to do where the system refuses permission.
fn hint(error: &anyhow::Error) -> &'static str {
    let denied = |error: &&io::Error| error.kind() == io::ErrorKind::PermissionDenied;
    let found = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>()).find(denied);
    match found.and_then(io::Error::raw_os_error).map(Errno::from_raw) {
        None => "",
        Some(_) if !geteuid().is_root() => "; run lbd as root",
        // As its unit has it.
        Some(Errno::EACCES) => {
            "; lbd is root without CAP_DAC_OVERRIDE: make the file and its directory root's"
        }
        Some(_) => "",
    }
}
