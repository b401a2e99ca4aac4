//! `lbctl top` on a real terminal: tmux's.

use anyhow::{Context as _, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tests::{Rack, Terminal, address, bin};

const SMALL: (u16, u16) = (80, 24);

/// `lbctl top` with these words.
fn top(rack: &Rack, words: &str, size: (u16, u16)) -> Result<Terminal> {
    let lbctl = bin::path("lbctl")?;
    let socket = rack.lab.socket();
    let line = format!("{} --socket {} top {words}", lbctl.display(), socket.display());
    Terminal::start(rack.lab.balancer(), &line, size)
}

/// The line of the screen with this in it.
fn line<'s>(screen: &'s str, part: &str) -> Option<&'s str> {
    screen.lines().find(|line| line.contains(part))
}

/// A line with this, and this in it.
fn has(screen: &str, part: &str, other: &str) -> bool {
    screen.lines().any(|line| line.contains(part) && line.contains(other))
}

/// Whether the total is a number of packets and of new flows that is not zero.
fn flows(screen: &str) -> bool {
    let total = line(screen, "total").unwrap_or_default();
    let before = |unit: &str| total.split(unit).next().and_then(|text| text.split(' ').next_back());
    let some =
        |number: Option<&str>| number.is_some_and(|number| !["", "0", "-"].contains(&number));
    total.contains("new flows/s") && some(before(" packets/s")) && some(before(" new flows/s"))
}

#[test]
fn a_small_terminal_shows_vips_reals_and_rates_and_reals_are_drained_and_enabled_from_it()
-> Result<()> {
    let rack = Rack::new(2)?;
    let top = top(&rack, "--interval 300ms", SMALL)?;
    let screen = top.shows_after(
        "a VIP with traffic",
        || rack.answers(3).map(drop),
        |screen| flows(screen) && has(screen, "web", "192.0.2.10"),
    )?;
    for real in ["10.0.0.11", "10.0.0.12"] {
        assert!(has(&screen, real, "50."), "{real} has half of the ring:\n{screen}");
    }
    assert!(screen.contains("XDP on eth0 (native)") && screen.contains("up"), "{screen}");
    assert!(screen.lines().count() <= 24 && screen.contains("q quit"), "{screen}");
    assert!(has(&screen, "all VIPs", "web"), "both curves:\n{screen}");
    println!("{screen}");

    top.press(&["d"])?;
    top.shows("where to drain", |screen| screen.contains("Enter opens the VIP"))?;
    top.press(&["Enter", "j", "d"])?;
    let asked = top.shows("a question", |screen| screen.contains("y  do it"))?;
    println!("{asked}");
    assert!(has(&asked, "Drain real 10.0.0.12 of VIP web?", ""), "{asked}");
    assert!(asked.contains("1h at the") && asked.contains("1 other real"), "{asked}");
    top.press(&["n"])?;
    top.shows("that nothing was done", |screen| screen.contains("nothing was done"))?;
    let state = |state: &'static str| move |real: &serde_json::Value| real["state"] == state;
    let second = ("web", address::real(2));
    rack.real_becomes("untouched", second, state("active"))?;

    top.press(&["d"])?;
    top.shows("a question", |screen| screen.contains("y  do it"))?;
    top.press(&["y"])?;
    let drained = top.shows("the drain", |screen| {
        has(screen, "10.0.0.12", " drain ") && has(screen, "web", "vip \"web\"")
    });
    println!("{}", drained?);
    rack.real_becomes("drained", second, state("drain"))?;

    top.press(&["d"])?;
    top.shows("that it drains", |screen| screen.contains("10.0.0.12 is draining already"))?;
    top.press(&["e"])?;
    top.shows("a question", |screen| screen.contains("Enable real 10.0.0.12 of VIP web?"))?;
    top.press(&["y"])?;
    top.shows("that it serves", |screen| has(screen, "10.0.0.12", " active "))?;
    rack.real_becomes("enabled", second, state("active"))?;
    top.shows("events", |screen| screen.contains("Events") && has(screen, "10.0.0.12", "drain"))?;

    top.press(&["/", "0", ".", "1", "1", "Enter"])?;
    top.shows("one real", |screen| {
        screen.contains("1 of 2 with \"0.11\"") && line(screen, "10.0.0.12  ").is_none()
    })?;
    top.press(&["Escape", "Escape", "?"])?;
    top.shows("the help", |screen| screen.contains("drain the selected real"))?;
    top.press(&["x", "q"])?;
    top.shows("the end", |screen| screen.contains("ended with 0"))?;
    assert_eq!(top.property("alternate_on")?, "0", "the screen is the shell's again");
    Ok(())
}

#[test]
fn a_terminal_may_change_its_size_and_one_too_small_says_so_until_it_is_enlarged() -> Result<()> {
    let rack = Rack::new(2)?;
    let top = top(&rack, "web", SMALL)?;
    let reason = "REASON";
    let narrow = top.shows("the VIP", |screen| has(screen, "web", "tcp/80"))?;
    assert!(!narrow.contains(reason), "{narrow}");
    top.resize(140, 50)?;
    let wide = top.shows("more columns", |screen| screen.contains(reason))?;
    println!("{wide}");
    assert_eq!(wide.lines().count(), 50);
    top.resize(40, 10)?;
    let small =
        top.shows("that it is too small", |screen| screen.contains("40x10 is too small"))?;
    assert!(!small.contains("10.0.0.11"), "{small}");
    top.resize(60, 15)?;
    let least = top.shows("the smallest", |screen| has(screen, "10.0.0.12", "active"))?;
    println!("{least}");
    assert!(least.contains("q quit"), "{least}");
    top.press(&["q"])?;
    top.shows("the end", |screen| screen.contains("ended with 0"))?;
    Ok(())
}

#[test]
fn a_daemon_that_goes_away_is_shown_and_so_is_its_return_and_a_signal_gives_the_terminal_back()
-> Result<()> {
    let mut rack = Rack::new(2)?;
    let top = top(&rack, "--interval 300ms", SMALL)?;
    top.shows("the VIP", |screen| has(screen, "web", "192.0.2.10"))?;
    rack.daemon.kill9()?;
    let gone = top.shows("that it is gone", |screen| {
        screen.contains("lbd cannot be reached, trying again")
    })?;
    println!("{gone}");
    assert!(has(&gone, "web", "192.0.2.10"), "what was known last is shown:\n{gone}");
    rack.daemon.restart()?;
    top.shows_after(
        "traffic again",
        || rack.answers(3).map(drop),
        |screen| flows(screen) && !screen.contains("cannot be reached"),
    )?;
    let change = ["vip", "set", "web", "--announce", "none"];
    rack.lbctl(&change)?;
    top.shows("an event after that", |screen| screen.contains("announce"))?;

    assert_eq!(top.property("alternate_on")?, "1");
    kill(Pid::from_raw(top.process("lbctl")?), Signal::SIGTERM)?;
    // 128 and the signal's number: the shell sees by what it ended.
    top.shows("the end", |screen| screen.contains("ended with 143"))?;
    ensure!(top.property("alternate_on")? == "0", "the screen is the shell's again");
    top.press(&["echo", "Enter"])?;
    // Once from the terminal, which raw mode would not have, and once from cat.
    top.shows("echoes", |screen| screen.lines().filter(|line| *line == "echo").count() == 2)?;
    Ok(())
}

/// What is typed on a terminal.
fn type_line(terminal: &Terminal, line: &str) -> Result<()> {
    terminal.press(&["-l", line])?;
    terminal.press(&["Enter"])
}

#[test]
fn a_shell_suspends_it_and_goes_on_with_it() -> Result<()> {
    let rack = Rack::new(1)?;
    let (lbctl, socket) = (bin::path("lbctl")?, rack.lab.socket());
    let shell = Terminal::start(rack.lab.balancer(), "PS1='ready> ' bash --norc -i", SMALL)?;
    shell.shows("a shell", |screen| screen.contains("ready>"))?;
    let dir = rack.daemon.config_file();
    let dir = dir.parent().context("a directory")?;
    type_line(&shell, &format!("cd {}; stty -g > before; clear", dir.display()))?;
    type_line(&shell, &format!("{} --socket {} top", lbctl.display(), socket.display()))?;
    for round in 1..=2 {
        shell.shows("the VIP", |screen| has(screen, "web", "192.0.2.10"))?;
        assert_eq!(shell.property("alternate_on")?, "1");
        shell.press(&["C-z"])?;
        shell.shows("that it is stopped", |screen| screen.contains("Stopped"))?;
        assert_eq!(shell.property("alternate_on")?, "0", "the screen is the shell's again");
        assert_eq!(shell.property("cursor_flag")?, "1", "and so is the cursor");
        let same = format!("stty -g | cmp - before && echo same {round}");
        type_line(&shell, &same)?;
        shell.shows("the modes", |screen| {
            screen.lines().any(|line| line == format!("same {round}"))
        })?;
        type_line(&shell, "fg")?;
    }
    // All of it is drawn, whatever was on the screen.
    shell
        .shows("all of it", |screen| screen.contains("q quit") && screen.contains("XDP on eth0"))?;
    shell.press(&["q"])?;
    shell.shows("the shell", |screen| {
        screen
            .lines()
            .rev()
            .find(|line| !line.is_empty())
            .is_some_and(|line| line.starts_with("ready>"))
    })?;
    Ok(())
}

#[test]
fn without_a_shell_that_could_go_on_with_it_it_is_not_suspended() -> Result<()> {
    let rack = Rack::new(1)?;
    // As `ssh -t` starts it: nobody here minds jobs.
    let top = top(&rack, "", SMALL)?;
    top.shows("the VIP", |screen| has(screen, "web", "192.0.2.10"))?;
    top.press(&["C-z", "C-l", "?"])?;
    top.shows("the help", |screen| screen.contains("drain the selected real"))?;
    top.press(&["x", "q"])?;
    top.shows("the end", |screen| screen.contains("ended with 0"))?;
    Ok(())
}

#[test]
fn every_signal_that_ends_it_gives_the_terminal_back() -> Result<()> {
    let rack = Rack::new(1)?;
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGHUP, 129)] {
        let top = top(&rack, "", SMALL)?;
        top.shows("the VIP", |screen| has(screen, "web", "192.0.2.10"))?;
        kill(Pid::from_raw(top.process("lbctl")?), signal)?;
        top.shows("the end", |screen| screen.contains(&format!("ended with {code}")))?;
        assert_eq!((&*top.property("alternate_on")?, &*top.property("cursor_flag")?), ("0", "1"));
        top.press(&["echo", "Enter"])?;
        top.shows("echoes", |screen| screen.lines().filter(|line| *line == "echo").count() == 2)?;
    }
    Ok(())
}

#[test]
fn without_a_terminal_or_a_daemon_it_says_what_to_do_instead() -> Result<()> {
    let rack = Rack::new(1)?;
    let piped = rack.daemon.lbctl(&["top"])?;
    assert_eq!((piped.code, piped.stdout.as_str()), (2, ""), "{piped:?}");
    assert!(
        piped.stderr.contains("needs a terminal") && piped.stderr.contains("lbctl status -o json")
    );
    let unknown = top(&rack, "wbe", SMALL)?;
    let screen = unknown.shows("the end", |screen| screen.contains("ended with 1"))?;
    assert!(screen.contains("wbe"), "{screen}");
    let line = format!("{} --socket /nonexistent/sock top", bin::path("lbctl")?.display());
    let alone = Terminal::start(rack.lab.balancer(), &line, SMALL)?;
    let screen = alone.shows("the end", |screen| screen.contains("ended with 3"))?;
    assert!(screen.contains("cannot reach lbd"), "{screen}");
    Ok(())
}
