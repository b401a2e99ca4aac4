//! What monitoring is told: Prometheus itself scrapes the lab, its tools read the output, and the alerts and the
//! dashboard name nothing that is not there.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write as _,
    net::IpAddr,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use tests::{Lab, LabOptions, Output, Process, Rack, address, bin, daemon, debian, wait};

/// Where lbd listens in the lab, and how it is asked by both families.
const LISTEN: &str = "[::]:9101";
const TARGETS: [&str; 2] = ["127.0.0.1:9101", "[::1]:9101"];

/// A check, in the words of a VIP of the file.
const CHECK: &str = "check = { type = \"http\", port = 80, interval = \"200ms\" }\n";

const OPENMETRICS: &str = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5";

fn contrib() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).join("contrib")
}

/// The same configuration with a listener for metrics.
fn listening(config: &str) -> String {
    config.replace("[node]", &format!("[node]\nlisten = \"{LISTEN}\""))
}

/// A rack of both families whose metrics can be read.
fn rack(reals: u8) -> Result<Rack> {
    let (lab, nginx, echoes) = Rack::servers_at(reals, &[Rack::vip(), Rack::vip6()])?;
    let daemon = lab.daemon(&listening(&lab.config(&Rack::both(reals, CHECK))))?;
    let rack = Rack { daemon, nginx, echoes, lab };
    rack.usable_of("web", usize::from(reals))?;
    rack.usable_of("web6", usize::from(reals))?;
    Ok(rack)
}

/// Runs curl in the balancer.
fn curl(lab: &Lab, words: &[&str]) -> Result<String> {
    let mut command = lab.balancer().command("curl");
    command.args(["-sS", "--fail-with-body", "--globoff"]).args(words);
    Ok(Output::of(&mut command)?.success()?.stdout)
}

/// The metrics as a target says them in the classic format.
fn scrape(lab: &Lab, target: &str) -> Result<String> {
    curl(lab, &[&format!("http://{target}/metrics")])
}

/// The samples of a text: name with labels, and value.
fn samples(text: &str) -> Result<BTreeMap<String, f64>> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').with_context(|| line.to_owned())?;
            Ok((name.to_owned(), value.parse()?))
        })
        .collect()
}

/// The value of a sample in the classic format.
fn sample(text: &str, name: &str) -> Result<f64> {
    samples(text)?.get(name).copied().with_context(|| format!("no {name} in:\n{text}"))
}

/// Waits until a sample has this value.
fn becomes(lab: &Lab, name: &str, value: f64) -> Result<()> {
    wait::until(&format!("{name} {value}"), wait::PATIENCE, || {
        let found = samples(&scrape(lab, TARGETS[0])?)?.get(name).copied();
        Ok((found == Some(value)).then_some(()))
    })
}

fn promtool(words: &[&str], dir: &Path, input: &str) -> Result<()> {
    let mut command = debian::program("usr/bin/promtool")?;
    command.args(words).current_dir(dir).stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("promtool")?;
    child.stdin.take().context("its input")?.write_all(input.as_bytes())?;
    let output = child.wait_with_output()?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    ensure!(output.status.success(), "promtool {words:?}: {said}");
    Ok(())
}

/// Prometheus in the balancer's namespace, with the example configuration, but for its targets and its pace.
struct Prometheus {
    _process: Process,
}

impl Prometheus {
    fn start(lab: &Lab) -> Result<Self> {
        let dir = lab.dir().join("prometheus");
        fs::create_dir(&dir)?;
        let examples = contrib().join("prometheus");
        fs::copy(examples.join("lb.rules.yml"), dir.join("lb.rules.yml"))?;
        let config = fs::read_to_string(examples.join("prometheus.yml"))?;
        let config = config.replace("_interval: 15s", "_interval: 1s");
        let config = config.replace("\"10.0.0.2:9101\"", &format!("\"{}\"", TARGETS[0]));
        let config = config.replace("\"10.0.0.3:9101\"", &format!("\"{}\"", TARGETS[1]));
        fs::write(dir.join("prometheus.yml"), config)?;
        let mut command = lab.balancer().command(debian::file("usr/bin/prometheus")?);
        debian::environment(&mut command);
        command.arg("--config.file").arg(dir.join("prometheus.yml"));
        command.arg("--storage.tsdb.path").arg(dir.join("data"));
        command.arg("--web.listen-address=127.0.0.1:9090");
        // Debian's package has no pages of its own in the binary.
        command.args(["--web.console.templates=none", "--web.console.libraries=none"]);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(fs::File::create(dir.join("log"))?);
        let mut process = lab.balancer().spawn(command)?;
        let ready = wait::until("Prometheus", wait::PATIENCE, || {
            if let Some(status) = process.exited()? {
                bail!("Prometheus ended with {status}");
            }
            Ok(curl(lab, &["http://127.0.0.1:9090/-/ready"]).ok().map(drop))
        });
        ready.with_context(|| fs::read_to_string(dir.join("log")).unwrap_or_default())?;
        Ok(Self { _process: process })
    }

    fn ask(lab: &Lab, path: &str, query: &str) -> Result<Value> {
        let url = format!("http://127.0.0.1:9090/api/v1/{path}");
        let answer = curl(lab, &["-G", "--data-urlencode", &format!("query={query}"), &url])?;
        let answer: Value = serde_json::from_str(&answer)?;
        ensure!(answer["status"] == "success", "{query}: {answer}");
        Ok(answer["data"].clone())
    }

    /// The answer to a question in PromQL: values by a label.
    fn query(lab: &Lab, query: &str, label: &str) -> Result<BTreeMap<String, f64>> {
        let data = Self::ask(lab, "query", query)?;
        let series = data["result"].as_array().context("a vector")?;
        let value = |series: &Value| {
            let name = series["metric"][label].as_str().unwrap_or_default().to_owned();
            Ok((name, series["value"][1].as_str().context("a value")?.parse()?))
        };
        series.iter().map(value).collect()
    }
}

#[test]
fn prometheus_scrapes_the_lab_and_knows_what_curl_has_sent() -> Result<()> {
    let mut rack = rack(2)?;
    let _prometheus = Prometheus::start(&rack.lab)?;
    rack.answers(20)?;
    rack.answers_at(Rack::web6(), 10)?;
    let all = |number: f64| -> BTreeMap<String, f64> {
        TARGETS.map(|target| (target.to_owned(), number)).into()
    };
    let flows = "sum by (instance) (lb_real_flows_total{vip=\"VIP\"})";
    for (vip, flows_of) in [("web", 20.0), ("web6", 10.0)] {
        let query = flows.replace("VIP", vip);
        wait::until(&query, wait::PATIENCE, || {
            let found = Prometheus::query(&rack.lab, &query, "instance")?;
            Ok((found == all(flows_of)).then_some(()))
        })?;
    }
    // No traffic any more: the newest sample is what status says.
    let vips = ["web", "web6"].map(|name| rack.vip_status(name));
    let packets: u64 = vips
        .into_iter()
        .map(|vip| Ok(vip?["packets"].as_u64().unwrap_or_default()))
        .sum::<Result<_>>()?;
    assert!(packets > 0);
    let query = "sum by (instance) (lb_real_packets_total)";
    wait::until(query, wait::PATIENCE, || {
        let found = Prometheus::query(&rack.lab, query, "instance")?;
        Ok((found == all(packets as f64)).then_some(()))
    })?;
    let p99 = "histogram_quantile(0.99, sum by (type, le) (lb_check_duration_seconds_bucket))";
    let found = Prometheus::query(&rack.lab, p99, "type")?;
    assert!(found.get("http").is_some_and(|time| *time > 0.0), "{found:?}");

    rack.daemon.kill9()?;
    let query = "ALERTS{alertname=\"LbDaemonDown\"}";
    wait::until("an alert", wait::PATIENCE, || {
        let found = Prometheus::query(&rack.lab, query, "instance")?;
        Ok((found == all(1.0)).then_some(()))
    })?;
    rack.answers(3).map(drop)
}

#[test]
fn promtool_finds_nothing_wrong_with_what_lbd_says() -> Result<()> {
    let rack = rack(2)?;
    let _measured = Measured::start()?;
    rack.answers(5)?;
    for target in TARGETS {
        promtool(&["check", "metrics"], rack.lab.dir(), &scrape(&rack.lab, target)?)?;
    }
    let socket = rack.lab.socket();
    let socket = socket.to_str().context("the socket")?;
    let words = ["--unix-socket", socket, "http://lbd/metrics"];
    promtool(&["check", "metrics"], rack.lab.dir(), &curl(&rack.lab, &words)?)
}

#[test]
fn the_format_is_the_one_that_is_asked_for() -> Result<()> {
    let rack = rack(1)?;
    let url = format!("http://{}/metrics", TARGETS[0]);
    let answer = |accept: &str| -> Result<(String, String)> {
        let accept = format!("Accept: {accept}");
        let text = curl(&rack.lab, &["-H", &accept, "-w", "\n%{content_type}", &url])?;
        let (text, kind) = text.rsplit_once('\n').context("a type")?;
        Ok((text.to_owned(), kind.to_owned()))
    };
    let (open, kind) = answer(OPENMETRICS)?;
    assert_eq!(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert!(open.ends_with("# EOF\n"), "{open}");
    let (classic, kind) = answer("*/*")?;
    assert_eq!(kind, "text/plain; version=0.0.4");
    assert!(!classic.contains("# EOF"));
    // The same samples, and help for all of them.
    let names = |text: &str| -> Result<BTreeSet<BTreeSet<String>>> {
        // Labels have no order, and `1` and `1.0` are the same end of a bucket.
        let name = |name: String| -> BTreeSet<String> {
            let words = name.split(['{', ',', '}']);
            words
                .map(|word| match word.starts_with("le=") {
                    true => word.replace(".0\"", "\""),
                    false => word.to_owned(),
                })
                .collect()
        };
        Ok(samples(text)?.into_keys().map(name).collect())
    };
    assert_eq!(names(&open.replace("# EOF\n", ""))?, names(&classic)?);
    let helped = classic.lines().filter(|line| line.starts_with("# HELP ")).count();
    assert_eq!(helped, classic.lines().filter(|line| line.starts_with("# TYPE ")).count());
    Ok(())
}

#[test]
fn metrics_say_what_status_says() -> Result<()> {
    let rack = rack(2)?;
    rack.lbctl(&["real", "set", "web", "10.0.0.11", "--weight", "3"])?;
    rack.lbctl(&["real", "drain", "web6", "2001:db8:a::12"])?;
    rack.answers(20)?;
    rack.answers_at(Rack::web6(), 10)?;
    for place in [Rack::echo(), Rack::echo6()] {
        rack.lab.client().udp_exchange(place, b"a query")?;
    }
    for name in ["web", "web6"] {
        let vip = rack.vip_status(name)?;
        let text = scrape(&rack.lab, TARGETS[0])?;
        let of = |status: &Value, key: &str| {
            let number = status[key].as_f64();
            number.with_context(|| format!("no {key} in {status}"))
        };
        for key in ["packets", "bytes", "flows"] {
            let metric = format!("lb_vip_{key}_total{{vip=\"{name}\"}}");
            assert_eq!(sample(&text, &metric)?, of(&vip, key)?, "{metric}");
        }
        let tracked = sample(&text, &format!("lb_vip_tracked_slots{{vip=\"{name}\"}}"))?;
        assert_eq!(tracked, of(&vip, "tracked_slots")?);
        let state = vip["state"].as_str().context("a state")?;
        let metric = format!("lb_vip_state{{vip=\"{name}\",state=\"{state}\"}}");
        assert_eq!(sample(&text, &metric)?, 1.0);
        for real in vip["reals"].as_array().context("reals")? {
            let labels =
                format!("vip=\"{name}\",real=\"{}\"", real["address"].as_str().unwrap_or_default());
            for (metric, key) in [
                ("lb_real_packets_total", "packets"),
                ("lb_real_bytes_total", "bytes"),
                ("lb_real_flows_total", "flows"),
                ("lb_real_weight", "weight"),
                ("lb_real_share_ratio", "share"),
            ] {
                assert_eq!(
                    sample(&text, &format!("{metric}{{{labels}}}"))?,
                    of(real, key)?,
                    "{key}"
                );
            }
            let (state, health) = (&real["state"], &real["health"]);
            assert_eq!(sample(&text, &format!("lb_real_state{{{labels},state={state}}}"))?, 1.0);
            assert_eq!(sample(&text, &format!("lb_real_health{{{labels},health={health}}}"))?, 1.0);
            let passed = format!("lb_real_check_passed{{{labels},check=\"1\",type=\"http\"}}");
            assert_eq!(sample(&text, &passed)?, 1.0);
            let previous = sample(&text, &format!("lb_real_previous_slots{{{labels}}}"))?;
            let deadline = format!("lb_real_drain_deadline_timestamp_seconds{{{labels}}}");
            match real.get("drain") {
                Some(drain) => {
                    assert_eq!(previous, of(drain, "slots")?);
                    assert!(sample(&text, &deadline)? > 0.0);
                }
                None => assert!(!samples(&text)?.contains_key(&deadline)),
            }
        }
    }
    let (text, status) = (scrape(&rack.lab, TARGETS[1])?, rack.status()?);
    let forwarded = "lb_outcomes_total{outcome=\"forwarded\",action=\"transmit\"}";
    assert_eq!(
        sample(&text, forwarded)?,
        status["outcomes"]["forwarded"].as_f64().context("a count")?
    );
    assert_eq!(sample(&text, "lb_announced_addresses{interface=\"eth0\"}")?, 2.0);
    assert_eq!(sample(&text, "lb_interface_xdp{interface=\"eth0\",mode=\"native\"}")?, 1.0);
    assert_eq!(sample(&text, "lb_neighbours{state=\"resolved\"}")?, 4.0);
    assert!(sample(&text, "lb_announcements_total{interface=\"eth0\"}")? >= 2.0);
    assert!(sample(&text, "process_resident_memory_bytes")? > 1e6);
    Ok(())
}

#[test]
fn what_is_gone_is_said_no_more_and_what_it_counted_stays_with_the_vip() -> Result<()> {
    let rack = rack(2)?;
    rack.answers(20)?;
    let packets = |text: &str| sample(text, "lb_vip_packets_total{vip=\"web\"}");
    let before = packets(&scrape(&rack.lab, TARGETS[0])?)?;
    rack.lbctl(&["real", "del", "web", "10.0.0.12", "--now"])?;
    rack.lbctl(&["vip", "del", "web6"])?;
    let text = scrape(&rack.lab, TARGETS[0])?;
    assert!(!text.contains("real=\"10.0.0.12\"") && !text.contains("vip=\"web6\""), "{text}");
    let after = packets(&text)?;
    assert!(after >= before && before > 0.0, "{before}, then {after}");
    assert_eq!(sample(&text, "lb_config_changes_total{result=\"applied\"}")?, 2.0);
    assert_eq!(rack.daemon.lbctl(&["vip", "del", "web6"])?.code, 1);
    becomes(&rack.lab, "lb_config_changes_total{result=\"refused\"}", 1.0)
}

#[test]
fn a_configuration_that_is_refused_is_told_until_a_good_one_is_read() -> Result<()> {
    let mut rack = rack(1)?;
    let file = rack.daemon.config_file();
    let good = fs::read_to_string(&file)?;
    let at_first = scrape(&rack.lab, TARGETS[0])?;
    assert_eq!(sample(&at_first, "lb_config_last_reload_successful")?, 1.0);
    fs::write(&file, good.replace("tcp/80", "tcp/none"))?;
    rack.daemon.process().signal(Signal::SIGHUP)?;
    becomes(&rack.lab, "lb_config_last_reload_successful", 0.0)?;
    becomes(&rack.lab, "lb_config_reloads_total{result=\"refused\"}", 1.0)?;
    let hash = sample(&scrape(&rack.lab, TARGETS[0])?, "lb_config_hash")?;
    assert_eq!(sample(&at_first, "lb_config_hash")?, hash, "what is in force");
    fs::write(&file, format!("# Mended.\n{good}"))?;
    rack.daemon.process().signal(Signal::SIGHUP)?;
    becomes(&rack.lab, "lb_config_last_reload_successful", 1.0)?;
    assert_ne!(sample(&scrape(&rack.lab, TARGETS[0])?, "lb_config_hash")?, hash);
    Ok(())
}

#[test]
fn a_real_that_fails_and_a_thief_are_seen() -> Result<()> {
    let mut rack = rack(2)?;
    // It answers ARP for the VIP, as a server that was set up carelessly does.
    let answers = ["ipv4/conf/all/arp_ignore", "ipv4/conf/eth0/arp_ignore"].map(|name| (name, "0"));
    rack.lab.real(2).netns().sysctl(&answers)?;
    becomes(&rack.lab, "lb_vip_thief{vip=\"web\"}", 1.0)?;
    becomes(&rack.lab, "lb_vip_thief{vip=\"web6\"}", 0.0)?;
    becomes(&rack.lab, "lb_events_total{event=\"thief\"}", 1.0)?;
    rack.nginx.pop();
    for (vip, real) in [("web", address::real(2)), ("web6", address::real6(2))] {
        let labels = format!("vip=\"{vip}\",real=\"{real}\"");
        becomes(&rack.lab, &format!("lb_real_health{{{labels},health=\"down\"}}"), 1.0)?;
        becomes(&rack.lab, &format!("lb_real_share_ratio{{{labels}}}"), 0.0)?;
        becomes(&rack.lab, &format!("lb_vip_usable_reals{{vip=\"{vip}\"}}"), 1.0)?;
    }
    let text = scrape(&rack.lab, TARGETS[0])?;
    let refused = "lb_check_duration_seconds_count{result=\"refused\",type=\"http\"}";
    assert!(sample(&text, refused)? >= 3.0, "{text}");
    Ok(())
}

/// The kernel measures programs as long as this lives; one test after the other has it.
struct Measured {
    before: String,
    _turn: MutexGuard<'static, ()>,
}

static TURN: Mutex<()> = Mutex::new(());

const MEASURES: &str = "/proc/sys/kernel/bpf_stats_enabled";

impl Measured {
    fn start() -> Result<Self> {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let before = fs::read_to_string(MEASURES)?;
        fs::write(MEASURES, "1")?;
        Ok(Self { before, _turn: turn })
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        drop(fs::write(MEASURES, &self.before));
    }
}

#[test]
fn programs_are_measured_while_somebody_captures_too() -> Result<()> {
    let rack = rack(1)?;
    let _measured = Measured::start()?;
    let runs =
        || sample(&scrape(&rack.lab, TARGETS[0])?, "lb_program_runs_total{interface=\"eth0\"}");
    rack.answers(2)?;
    let before = runs()?;
    let mut command = rack.lab.balancer().command(bin::path("lbctl")?);
    command.arg("--socket").arg(rack.lab.socket());
    command.args(["capture", "--vip", "web", "-w"]).arg(rack.lab.dir().join("web.pcapng"));
    let _capture = rack.lab.balancer().spawn(command)?;
    wait::until("the program that captures", wait::PATIENCE, || {
        let link = rack.lab.balancer().ip("-j -d link show dev eth0")?;
        Ok(link.contains("\"name\":\"capture\"").then_some(()))
    })?;
    let at_first = runs()?;
    assert!(at_first >= before, "{before}, then {at_first}");
    rack.answers(2)?;
    // The balancer's own program does not run meanwhile.
    assert!(runs()? > at_first);
    Ok(())
}

/// The names of metrics in a text.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let metrics = words.filter(|word| word.starts_with("lb_") || word.starts_with("process_"));
    metrics.map(str::to_owned).collect()
}

/// What a question selects by labels: beginnings of series, such as `lb_vip_state` and `state="down"`. Variables, the
/// labels that Prometheus adds, and what checks have found, which is only said once it was, are left out.
fn selected(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices('{') {
        let (name, labels) = text.split_at(at);
        let mut name = name.rsplit(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        let name = name.next().unwrap_or_default().to_owned();
        let labels = labels.trim_start_matches('{').split('}').next().unwrap_or_default();
        for (label, values) in labels.split(',').filter_map(|matcher| matcher.split_once('=')) {
            let label = label.trim().trim_end_matches('!');
            let values = values.trim_start_matches('~').trim_matches('"');
            if !["job", "result"].contains(&label) && !values.contains('$') {
                let pair = |value: &str| (name.clone(), format!("{label}=\"{value}\""));
                found.extend(values.split('|').map(pair));
            }
        }
    }
    found
}

/// What stands under this key anywhere in a tree.
fn under(tree: &Value, key: &str, found: &mut Vec<String>) {
    match tree {
        Value::Object(fields) => {
            found.extend(fields.get(key).and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|field| under(field, key, found));
        }
        Value::Array(items) => items.iter().for_each(|item| under(item, key, found)),
        _ => {}
    }
}

/// All questions of the dashboard.
fn questions() -> Result<Vec<String>> {
    let dashboard = fs::read_to_string(contrib().join("grafana/lb.json"))?;
    let dashboard: Value = serde_json::from_str(&dashboard)?;
    let mut found = Vec::new();
    under(&dashboard, "expr", &mut found);
    under(&dashboard, "query", &mut found);
    Ok(found)
}

#[test]
fn alerts_and_the_dashboard_name_only_what_there_is() -> Result<()> {
    let rack = rack(2)?;
    let _measured = Measured::start()?;
    rack.lbctl(&["real", "drain", "web", "10.0.0.11"])?;
    rack.answers(5)?;
    let text = scrape(&rack.lab, TARGETS[0])?;
    let series: Vec<String> = samples(&text)?.into_keys().collect();
    let known: BTreeSet<String> =
        series.iter().filter_map(|name| Some(name.split('{').next()?.to_owned())).collect();
    let mut labels = 0;
    let rules = fs::read_to_string(contrib().join("prometheus/lb.rules.yml"))?;
    let rules = rules.lines().filter(|line| line.trim_start().starts_with("expr:"));
    let questions = questions()?;
    assert!(questions.len() > 40, "{}", questions.len());
    for text in rules.map(str::to_owned).chain(questions.iter().cloned()) {
        for name in names(&text) {
            assert!(known.contains(&name), "{name} in `{text}` is in no scrape");
        }
        for (name, label) in selected(&text) {
            let is_it = |series: &&String| series.starts_with(&name) && series.contains(&label);
            assert!(series.iter().any(|series| is_it(&series)), "{name}, {label} in `{text}`");
            labels += 1;
        }
    }
    assert!(labels > 20, "{labels}");
    let runs = sample(&text, "lb_program_runs_total{interface=\"eth0\"}")?;
    assert!(runs > 0.0 && sample(&text, "lb_program_run_seconds_total{interface=\"eth0\"}")? > 0.0);

    let _prometheus = Prometheus::start(&rack.lab)?;
    let asked =
        questions.iter().filter(|text| !names(text).is_empty() && !text.contains("label_values"));
    for question in asked {
        let question = ["$__rate_interval", "$__interval"]
            .iter()
            .fold(question.clone(), |text, variable| text.replace(variable, "1m"));
        let question = question.replace("$instance", ".*").replace("$vip", ".*");
        Prometheus::ask(&rack.lab, "query", &question)?;
    }
    let rules = wait::until("the rules to be looked at", wait::PATIENCE, || {
        let rules = Prometheus::ask(&rack.lab, "rules", "")?.to_string();
        Ok((!rules.contains("\"health\":\"unknown\"")).then_some(rules))
    })?;
    assert!(rules.contains("LbVipDown") && !rules.contains("\"health\":\"err\""), "{rules}");
    Ok(())
}

#[test]
fn alerts_do_what_their_tests_say() -> Result<()> {
    let dir = contrib().join("prometheus");
    promtool(&["check", "rules", "lb.rules.yml"], &dir, "")?;
    promtool(&["check", "config", "prometheus.yml"], &dir, "")?;
    promtool(&["test", "rules", "lb.rules.test.yml"], &dir, "")?;
    // Each alert has a test, and says what to do.
    let (rules, tests) =
        ["lb.rules.yml", "lb.rules.test.yml"].map(|name| fs::read_to_string(dir.join(name))).into();
    let (rules, tests) = (rules?, tests?);
    let alerts: Vec<&str> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    for alert in &alerts {
        assert!(tests.contains(&format!("alertname: {alert}\n        exp_alerts:\n")), "{alert}");
    }
    assert_eq!(rules.matches("\n          action: ").count(), alerts.len());
    Ok(())
}

#[test]
fn a_port_in_use_is_said_at_the_start_and_nothing_is_changed() -> Result<()> {
    for (listen, family) in [("127.0.0.1:9101", 4), ("[::1]:9101", 6)] {
        let lab = Lab::new(LabOptions::reals(1))?;
        let listener = lab.in_balancer(|| Ok(std::net::TcpListener::bind(listen)?))?;
        let config = lab.config(&Rack::vips(1));
        let config = config.replace("[node]", &format!("[node]\nlisten = \"{listen}\""));
        let file = lab.dir().join("lb.toml");
        fs::write(&file, config)?;
        let output = daemon::lbd(&lab, &["--config", file.to_str().context("a path")?])?;
        assert_ne!(output.code, 0, "{family}");
        let line = output.stderr.lines().last().unwrap_or_default();
        assert!(
            line.contains(&format!("listen = \"{listen}\"")) && line.contains("in use"),
            "{line}"
        );
        assert!(!lab.balancer().ip("link show dev eth0")?.contains("xdp"));
        drop(listener);
    }
    Ok(())
}

/// A thousand VIPs with ten reals each: the text is as large as the configuration says, and what it costs is printed.
#[test]
fn the_configuration_bounds_how_much_is_said() -> Result<()> {
    let lab = Lab::new(LabOptions::reals(1))?;
    // Ten VIPs each have the same pool, and each server is in two pools.
    let real = |server: u16| {
        let [high, low] = server.to_be_bytes();
        format!("{{ address = \"10.1.{high}.{low}\", mac = \"02:00:00:01:{high:02x}:{low:02x}\" }}")
    };
    let pool = |number: u16| (0..10).map(move |real| 5 * (number % 100) + real);
    let vip = |number: u16| {
        let address = IpAddr::from([172, 16, (number >> 8) as u8, number as u8]);
        let reals: Vec<String> = pool(number).map(real).collect();
        format!(
            "\n[[vip]]\nname = \"vip{number}\"\naddress = \"{address}\"\nports = [\"tcp/80\"]\n\
             announce = \"none\"\ncheck = {{ type = \"tcp\", port = 80, via = \"rip\", interval = \"1h\", \
             initial = \"up\" }}\nreal = [{}]\n",
            reals.join(", ")
        )
    };
    let vips: String = (1..=1000).map(vip).collect();
    let daemon = lab.daemon(&listening(&lab.config(&vips)))?.hushed();
    for accept in ["text/plain", OPENMETRICS] {
        let words = ["-H", &format!("Accept: {accept}"), "-w", "\n%{time_total}"];
        let url = format!("http://{}/metrics", TARGETS[0]);
        let text = curl(&lab, &[&words[..], &[&url]].concat())?;
        let (text, took) = text.rsplit_once('\n').context("a time")?;
        let lines = text.lines().filter(|line| !line.starts_with('#')).count();
        assert!((100_000..250_000).contains(&lines), "{lines}");
        assert_eq!(text.matches("\nlb_real_packets_total{").count(), 10_000);
        let busy = samples(&text.replace("# EOF\n", ""))?["lb_metrics_collection_seconds"];
        println!(
            "{accept}: {lines} samples, {} bytes, {took} s, of which the owner {busy} s",
            text.len()
        );
    }
    drop(daemon);
    Ok(())
}
