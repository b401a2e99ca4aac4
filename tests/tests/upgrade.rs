//! A daemon of another version takes over: what the former one has pinned lives on as far as it can.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use anyhow::{Context as _, Result};
use aya::maps::{Array, HashMap, Map, MapData};
use lb_common::{Flow, FlowKey, LAYOUT, NotedBlock, Seed, limits};
use lb_ebpf::tables::Notes;
use lb_user::{
    dataplane::{Cursor, Kernel, Loader},
    model::{FlowTables, Room, XdpChoice},
};
use tests::{Daemon, Lab, LabOptions, Rack};

/// The layout before tracked slots.
const FORMER: u32 = 2;

/// The maps that it did not have.
const NEW: [&str; 5] = ["TIMES", "FULL", "PINNED", "FRESH", "DATAGRAMS"];

/// The layout before arrays had sizes in their names: all were as large as they are at least.
const UNSIZED: u32 = 3;

/// The arrays that have got them.
const SIZED: [(&str, &str); 5] = [
    ("RINGS", "RINGS-262144"),
    ("TIMES", "TIMES-4194304"),
    ("REALS", "REALS-65536"),
    ("ADDRESSES", "ADDRESSES-65536"),
    ("STEERED", "STEERED-65536"),
];

/// The layout before hashes were known that no noted flow has.
const UNNOTED: u32 = 4;

/// The array of those.
const NOTED: &str = "NOTED";

/// What a map of a former layout is called now.
fn sized(name: &str) -> &str {
    SIZED.iter().find(|(plain, _)| *plain == name).map_or(name, |(_, sized)| sized)
}

/// The maps that mean something else since layout 4, and are made anew.
const REMADE: [&str; 3] = ["TABLE", "DISPLACE", "ENTRIES"];

fn directory(lab: &Lab, layout: u32) -> PathBuf {
    lab.pin_dir().join(format!("layout-{layout}"))
}

/// What is pinned in a directory: the files' names and the maps' numbers.
fn maps(lab: &Lab, layout: u32) -> Result<BTreeMap<String, u32>> {
    let dir = directory(lab, layout);
    lab.in_balancer(|| {
        let files = fs::read_dir(&dir)?.map(|file| {
            let file = file?;
            let map = MapData::from_pin(file.path())?.info()?.id();
            Ok((file.file_name().to_string_lossy().into_owned(), map))
        });
        files.collect()
    })
}

/// The names in the pin directory.
fn pins(lab: &Lab) -> Result<Vec<String>> {
    let dir = lab.pin_dir();
    let mut names: Vec<String> = lab.in_balancer(|| {
        let names =
            fs::read_dir(&dir)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into()));
        names.collect()
    })?;
    names.sort();
    Ok(names)
}

/// What a daemon whose layout does not change leaves in the pin directory.
fn settled() -> Vec<String> {
    vec![format!("layout-{LAYOUT}"), "link-eth0".to_owned()]
}

/// Makes of what is pinned what a daemon of a former layout leaves.
fn age(lab: &Lab, layout: u32) -> Result<()> {
    let (now, then) = (directory(lab, LAYOUT), directory(lab, layout));
    lab.in_balancer(|| {
        fs::rename(&now, &then)?;
        fs::remove_file(then.join(NOTED))?;
        for (plain, sized) in SIZED.iter().filter(|_| layout < UNNOTED) {
            fs::rename(then.join(sized), then.join(plain))?;
        }
        for file in fs::read_dir(&then)? {
            let file = file?;
            let name = file.file_name().to_string_lossy().into_owned();
            if layout == FORMER && NEW.iter().any(|new| name.starts_with(new)) {
                fs::remove_file(file.path())?;
            }
        }
        Ok(())
    })
}

/// Leaves what a start has left that was killed: these of the former maps are pinned in a directory
/// of this name, too, as they are called now.
fn begin(lab: &Lab, name: &str, carried: impl Fn(&str) -> bool + Send + Sync) -> Result<()> {
    let (then, begun) = (directory(lab, FORMER), lab.pin_dir().join(name));
    lab.in_balancer(|| {
        fs::create_dir(&begun)?;
        for file in fs::read_dir(&then)? {
            let file = file?;
            let name = file.file_name().to_string_lossy().into_owned();
            if carried(&name) {
                MapData::from_pin(file.path())?.pin(begun.join(sized(&name)))?;
            }
        }
        Ok(())
    })
}

/// Which real each of some flows would get.
fn owners(daemon: &Daemon) -> Result<Vec<String>> {
    (0..40)
        .map(|flow| {
            let source = format!("198.51.100.2:{}", 20_000 + flow);
            let words = ["-o", "json", "trace", "--src", &source, "--dst", "192.0.2.10:80"];
            let trace = daemon.lbctl(&words)?.success()?.json()?;
            Ok(trace["real"].as_str().unwrap_or("nobody").to_owned())
        })
        .collect()
}

/// Asks on a connection that stays open who answers.
fn ask(stream: &mut TcpStream) -> Result<String> {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: www\r\n\r\n")?;
    let mut answer = String::new();
    let mut bytes = [0; 4096];
    loop {
        let length = stream.read(&mut bytes)?;
        anyhow::ensure!(length > 0, "the connection was closed");
        answer += std::str::from_utf8(&bytes[..length])?;
        if let Some((_, body)) = answer.split_once("\r\n\r\n").filter(|(_, body)| !body.is_empty())
        {
            return Ok(body.trim_end().to_owned());
        }
    }
}

/// Does something while a client opens one connection after the other, all of which must be served:
/// how many that were.
fn under_requests(rack: &mut Rack, act: impl FnOnce(&mut Daemon) -> Result<()>) -> Result<u64> {
    let (lab, daemon) = (&rack.lab, &mut rack.daemon);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let client = scope.spawn(|| {
            let mut served = 0;
            while !done.load(Ordering::Relaxed) {
                lab.client().who_answers(Rack::web())?;
                served += 1;
            }
            anyhow::Ok(served)
        });
        let acted = act(daemon);
        done.store(true, Ordering::Relaxed);
        acted?;
        client.join().expect("the client")
    })
}

fn flows(rack: &Rack) -> Result<u64> {
    rack.status()?["vips"][0]["flows"].as_u64().context("flows")
}

/// Upgrades from a former layout, where `prepare` may add to what that has left.
fn upgrade(layout: u32, prepare: impl Fn(&Lab) -> Result<()>) -> Result<()> {
    let mut rack = Rack::new(3)?;
    rack.answers(30)?;
    let mut stream = rack.lab.client().connect(Rack::web())?;
    let server = ask(&mut stream)?;
    let (before, counted) = (owners(&rack.daemon)?, flows(&rack)?);
    rack.daemon.terminate()?;
    age(&rack.lab, layout)?;
    prepare(&rack.lab)?;
    let former = maps(&rack.lab, layout)?;
    let served = under_requests(&mut rack, Daemon::restart)?;
    assert!(served > 0);
    assert_eq!(ask(&mut stream)?, server);
    assert_eq!(owners(&rack.daemon)?, before);
    assert!(flows(&rack)? >= counted + served, "counters go on");
    let now = maps(&rack.lab, LAYOUT)?;
    assert_eq!(now.len(), former.len() + 1 + if layout == FORMER { NEW.len() } else { 0 });
    for (name, map) in &former {
        let is_shared = now.get(sized(name)) == Some(map);
        let is_remade = layout < UNNOTED && REMADE.contains(&name.as_str());
        assert_eq!(is_shared, !is_remade, "{name}: {former:?} {now:?}");
    }
    assert_eq!(pins(&rack.lab)?, settled());
    Ok(())
}

#[test]
fn a_daemon_of_the_next_layout_goes_on_with_the_maps_of_the_former() -> Result<()> {
    upgrade(FORMER, |_| Ok(()))
}

#[test]
fn arrays_whose_names_did_not_say_their_sizes_live_on_with_the_noted_flows() -> Result<()> {
    upgrade(UNSIZED, |_| Ok(()))
}

#[test]
fn connections_go_on_that_were_noted_when_nobody_knew_hashes() -> Result<()> {
    upgrade(UNNOTED, |_| Ok(()))?;
    let (mut rack, mut streams) = noted_on_a_third()?;
    rack.daemon.terminate()?;
    age(&rack.lab, UNNOTED)?;
    assert!(under_requests(&mut rack, Daemon::restart)? > 0);
    for stream in &mut streams {
        assert_eq!(ask(stream)?, "real3");
    }
    Ok(())
}

/// Loads what is pinned, and does something with it once its programs are attached.
fn with_kernel<T: Send>(
    lab: &Lab,
    seed: Seed,
    act: impl FnOnce(&mut Kernel) -> Result<T> + Send,
) -> Result<T> {
    let pin_dir = lab.pin_dir();
    let (tables, room) = (FlowTables::default(), Room::LEAST);
    let attached = async || {
        let loader = Loader { pin_dir: Some(pin_dir.clone()), seed, log: false, tables, room };
        let mut kernel = Kernel::load(&loader)?;
        kernel.attach_all(&[(1, "eth0")], XdpChoice::Auto, &pin_dir).await?;
        act(&mut kernel)
    };
    lab.in_balancer(|| {
        tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(attached())
    })
}

#[test]
fn hashes_that_are_noted_outlive_the_daemon_and_all_count_as_noted_where_that_is_not_known()
-> Result<()> {
    const SEED: Seed = Seed([1, 2]);
    let lab = Lab::new(LabOptions::reals(1))?;
    let pin = directory(&lab, LAYOUT).join(NOTED);
    let noted = |seed| with_kernel(&lab, seed, |kernel| Ok(kernel.noted_hashes()));
    let clear = |seed| {
        with_kernel(&lab, seed, |kernel| {
            kernel.clear_noted();
            Ok(kernel.noted_hashes())
        })
    };
    assert_eq!(noted(SEED)?, limits::NOTED, "a former version may have noted flows");
    assert_eq!((clear(SEED)?, noted(SEED)?), (0, 0), "no slot is tracked");
    let mut block = NotedBlock([0; limits::NOTED_PER_BLOCK as usize]);
    block.0[7] = 1;
    lab.in_balancer(|| {
        let mut array: Array<_, NotedBlock> =
            Array::try_from(Map::Array(MapData::from_pin(&pin)?))?;
        Ok([0, 17].into_iter().try_for_each(|index| array.set(index, block, 0))?)
    })?;
    assert_eq!(noted(SEED)?, 2);
    lab.in_balancer(|| Ok(fs::remove_file(&pin)?))?;
    assert_eq!(noted(SEED)?, limits::NOTED, "it is not known");
    assert_eq!((clear(SEED)?, noted(SEED)?), (0, 0));
    assert_eq!(noted(Seed([1, 3]))?, limits::NOTED, "the flows have other hashes");
    assert_eq!(noted(SEED)?, limits::NOTED, "and others again");
    assert_eq!(clear(SEED)?, 0);
    Ok(())
}

#[test]
fn an_upgrade_that_was_killed_while_it_carried_maps_over_is_begun_anew() -> Result<()> {
    upgrade(FORMER, |lab| begin(lab, &format!("layout-{LAYOUT}-partial"), |name| name < "P"))
}

#[test]
fn an_upgrade_that_was_killed_before_it_switched_the_program_goes_on() -> Result<()> {
    upgrade(FORMER, |lab| begin(lab, &format!("layout-{LAYOUT}"), |name| !REMADE.contains(&name)))
}

#[test]
fn what_a_newer_layout_has_left_is_replaced_from_the_configuration() -> Result<()> {
    let mut rack = Rack::new(3)?;
    let newer = LAYOUT + 1;
    rack.daemon.kill9()?;
    let (from, to) = (directory(&rack.lab, LAYOUT), directory(&rack.lab, newer));
    rack.lab.in_balancer(|| Ok(fs::rename(&from, &to)?))?;
    let former = maps(&rack.lab, newer)?;
    assert!(under_requests(&mut rack, Daemon::restart)? > 0);
    rack.usable(3)?;
    assert_eq!(rack.answers(30)?.len(), 3);
    let now = maps(&rack.lab, LAYOUT)?;
    assert!(now.iter().all(|(name, map)| former[name] != *map), "{former:?} {now:?}");
    assert_eq!(pins(&rack.lab)?, settled());
    let log = rack.daemon.log()?;
    let warned = |line: &str| {
        let named =
            line.contains(&format!("layout {newer}")) && line.contains(&format!("layout {LAYOUT}"));
        named && line.contains("WARN") && line.contains("open connections may move")
    };
    assert!(log.lines().any(warned), "{log}");
    Ok(())
}

#[test]
fn maps_of_the_former_layout_that_are_not_whole_are_left_alone() -> Result<()> {
    let mut rack = Rack::new(2)?;
    rack.daemon.terminate()?;
    age(&rack.lab, FORMER)?;
    let rings = directory(&rack.lab, FORMER).join("RINGS");
    rack.lab.in_balancer(|| Ok(fs::remove_file(&rings)?))?;
    let former = maps(&rack.lab, FORMER)?;
    assert!(under_requests(&mut rack, Daemon::restart)? > 0);
    let now = maps(&rack.lab, LAYOUT)?;
    assert!(former.iter().all(|(name, map)| now[sized(name)] != *map), "{former:?} {now:?}");
    assert!(rack.daemon.log()?.contains("RINGS is missing"));
    Ok(())
}

#[test]
fn a_pinned_map_that_is_not_ours_keeps_a_daemon_from_starting() -> Result<()> {
    let mut rack = Rack::new(1)?;
    rack.daemon.terminate()?;
    let dir = directory(&rack.lab, LAYOUT);
    rack.lab.in_balancer(|| Ok(fs::rename(dir.join("OUTCOMES"), dir.join("REALS-65536"))?))?;
    let refused = rack.daemon.restart().expect_err("a foreign map").to_string();
    let said = "is not a map of this program (it is PerCpuArray of 64 values of 8 bytes, keys of 4, \
                not Array of 65536 values of 8 bytes, keys of 4): run `lbd --config FILE --detach`";
    assert!(refused.contains(said), "{refused}");
    assert_eq!(rack.answers(3)?.len(), 1, "the former daemon's program forwards");
    Ok(())
}

/// Flows that nobody has, at a table's pin.
fn note(lab: &Lab, file: &str, flows: &[(FlowKey, Flow)]) -> Result<()> {
    let pin = directory(lab, LAYOUT).join(file);
    lab.in_balancer(|| {
        let mut table: HashMap<_, FlowKey, Flow> =
            HashMap::try_from(Map::HashMap(MapData::from_pin(&pin)?))?;
        flows.iter().try_for_each(|(key, flow)| Ok(table.insert(key, flow, 0)?))
    })
}

fn some_flows(number: u32) -> Vec<(FlowKey, Flow)> {
    let key = |ports| FlowKey { ports, ..FlowKey::default() };
    (0..number).map(|ports| (key(ports), Flow { slot: ports, ..Flow::default() })).collect()
}

#[test]
fn a_table_of_flows_that_is_made_larger_or_smaller_keeps_what_was_noted() -> Result<()> {
    let lab = Lab::new(LabOptions::reals(1))?;
    let pin_dir = lab.pin_dir();
    let tables = |pinned| FlowTables { pinned, fresh: 1024, datagrams: 1024 };
    // Loads and attaches with tables of this size: what is noted then.
    let noted = |pinned| {
        let attach = async || {
            let loader = Loader {
                pin_dir: Some(pin_dir.clone()),
                seed: Seed([1, 2]),
                log: false,
                tables: tables(pinned),
                room: Room::LEAST,
            };
            let mut kernel = Kernel::load(&loader)?;
            kernel.attach_all(&[(1, "eth0")], XdpChoice::Auto, &pin_dir).await?;
            let mut cursor = Cursor::Start;
            let mut flows = kernel.notes(Notes::Pinned).read(&mut cursor, 10_000)?;
            flows.sort_by_key(|(key, _)| *key);
            anyhow::Ok(flows)
        };
        lab.in_balancer(|| {
            tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(attach())
        })
    };
    assert!(noted(2048)?.is_empty());
    let flows = some_flows(1500);
    note(&lab, "PINNED-2048", &flows)?;
    assert!(noted(4096)? == flows);
    assert!(noted(2048)? == flows);
    assert_eq!(noted(1024)?.len(), 1024);
    assert!(
        maps(&lab, LAYOUT)?.keys().filter(|name| name.starts_with("PINNED")).eq(["PINNED-1024"])
    );
    Ok(())
}

/// A VIP that has got a third real, and connections with that one. All of its slots are tracked: what is not noted belongs
/// to others.
fn noted_on_a_third() -> Result<(Rack, Vec<TcpStream>)> {
    let (lab, nginx, echoes) = Rack::servers(3)?;
    let daemon = lab.daemon(&lab.config(&Rack::vips(2)))?;
    let rack = Rack { daemon, nginx, echoes, lab };
    rack.usable(2)?;
    rack.lbctl(&["real", "add", "web", "10.0.0.13"])?;
    rack.usable(3)?;
    let mut streams = Vec::new();
    while streams.len() < 5 {
        let mut stream = rack.lab.client().connect(Rack::web())?;
        if ask(&mut stream)? == "real3" {
            streams.push(stream);
        }
    }
    Ok((rack, streams))
}

#[test]
fn connections_that_are_noted_go_on_when_the_tables_of_flows_change_their_sizes() -> Result<()> {
    let (mut rack, mut streams) = noted_on_a_third()?;
    // The others use the same ports again and again: their flows change while they are copied.
    rack.lab.client().netns().sysctl(&[("ipv4/ip_local_port_range", "20000 20063")])?;
    for sizes in ["pinned_flows = 4096\nfresh_flows = 2048", "datagram_flows = 1024"] {
        rack.daemon.terminate()?;
        let file = rack.daemon.config_file();
        let config = fs::read_to_string(&file)?;
        let config = config.lines().filter(|line| !line.contains("_flows = "));
        let config = config.collect::<Vec<_>>().join("\n");
        fs::write(&file, config.replace("[node]\n", &format!("[node]\n{sizes}\n")))?;
        under_requests(&mut rack, Daemon::restart)?;
        for stream in &mut streams {
            assert_eq!(ask(stream)?, "real3");
        }
    }
    Ok(())
}

#[test]
fn flows_that_do_not_fit_into_a_smaller_table_are_told() -> Result<()> {
    let mut rack = Rack::new(1)?;
    rack.daemon.terminate()?;
    note(&rack.lab, &format!("PINNED-{}", FlowTables::default().pinned), &some_flows(1500))?;
    let file = rack.daemon.config_file();
    let config = fs::read_to_string(&file)?.replace("[node]\n", "[node]\npinned_flows = 1024\n");
    fs::write(&file, config)?;
    assert!(under_requests(&mut rack, Daemon::restart)? > 0);
    let log = rack.daemon.log()?;
    assert!(log.contains("PINNED has 1024 entries instead of 262144: 1024 flows are copied"));
    assert!(log.contains("PINNED: 476 noted flows do not fit into 1024 entries and may move"));
    Ok(())
}
