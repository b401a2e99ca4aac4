//! `lbd`, the daemon.

use std::{
    env, io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{CommandFactory as _, Parser};
use lb_user::{daemon, logging, manual, probe::exec};

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
    let config = match daemon::configuration(&arguments.config) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("{error:#}");
            return ExitCode::from(2);
        }
    };
    if arguments.check {
        println!("{}: good, {} VIPs", arguments.config.display(), config.model.vips.len());
        return ExitCode::SUCCESS;
    }
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
    let denied = |error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied;
    match error.chain().filter_map(|cause| cause.downcast_ref()).any(denied) {
        true => "; run lbd as root",
        false => "",
    }
}
