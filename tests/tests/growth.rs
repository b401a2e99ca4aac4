//! A configuration that the tables in force have no room for: it is refused while `lbd` runs, and a restart
//! makes larger tables, which nobody notices.

use std::{
    collections::BTreeSet,
    fs,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use anyhow::{Context as _, Result};
use aya::{
    Pod,
    maps::{Array, Map, MapData},
};
use lb_common::{LAYOUT, RealWord, Seed, SlotBlock, Tick};
use lb_user::{
    config,
    dataplane::{Dataplane as _, Kernel, Loader},
    model::{FlowTables, Real, Room, Vip, XdpChoice},
    plan::{Desired, DesiredReal, DesiredVip, Role, plan},
};
use tests::{Daemon, Lab, LabOptions, Rack, Talk, address};

/// The arrays whose sizes depend on the configuration.
const ARRAYS: [&str; 5] = ["RINGS", "TIMES", "REALS", "ADDRESSES", "STEERED"];

/// VIPs that nobody asks, with pools of two whose weights are so unequal that they take the longest ring:
/// sixteen fill the least arena.
fn large(vips: u8) -> String {
    let vip = |number: u8| {
        let real = |last: u8, weight: u16| {
            format!(
                "{{ address = \"10.0.0.{last}\", mac = \"02:00:00:00:00:{last:02x}\", weight = {weight} }}"
            )
        };
        format!(
            "\n[[vip]]\nname = \"large{number}\"\naddress = \"192.0.3.{number}\"\nports = [\"any\"]\n\
             announce = \"none\"\nreal = [{}, {}]\n",
            real(200, 256),
            real(201, 1)
        )
    };
    (1..=vips).map(vip).collect()
}

/// Reals that get nothing, so many that the pool of "web" needs more places.
fn idle() -> String {
    let real = |last: u8| {
        format!(
            "\n[[vip.real]]\naddress = \"10.0.0.{last}\"\nmac = \"02:00:00:00:00:{last:02x}\"\nweight = 0\n"
        )
    };
    (210..220).map(real).collect()
}

/// The arrays that are pinned, without their sizes, and the sizes of two of them.
fn pinned(lab: &Lab) -> Result<BTreeSet<String>> {
    let dir = lab.pin_dir().join(format!("layout-{LAYOUT}"));
    lab.in_balancer(|| {
        let names =
            fs::read_dir(&dir)?.map(|file| Ok(file?.file_name().to_string_lossy().into_owned()));
        let names: Result<BTreeSet<String>> = names.collect();
        let sized = |name: &String| ARRAYS.iter().any(|array| name.starts_with(array));
        Ok(names?.into_iter().filter(sized).collect())
    })
}

/// The names of the arrays for this many slots and places.
fn arrays(slots: u32, places: u32) -> BTreeSet<String> {
    let sizes = [slots / 16, slots, places, places, places];
    ARRAYS.iter().zip(sizes).map(|(name, size)| format!("{name}-{size}")).collect()
}

/// Does something while a client opens one connection after the other, all of which must be served: how
/// many that were.
fn under_connections(
    lab: &Lab,
    daemon: &mut Daemon,
    act: impl FnOnce(&mut Daemon) -> Result<()>,
) -> Result<u64> {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let client = scope.spawn(|| {
            let mut served = 0;
            while !done.load(Ordering::Relaxed) {
                for to in [Rack::web(), Rack::web6()] {
                    Talk::open(lab.client(), to)?.close()?;
                    served += 1;
                }
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
    let flows = |vip| rack.vip_status(vip)?["flows"].as_u64().context("flows");
    Ok(flows("web")? + flows("web6")?)
}

#[test]
fn what_has_no_room_is_refused_until_a_restart_makes_larger_tables_which_breaks_no_connection()
-> Result<()> {
    let (mut rack, _servers) = Rack::echoing(3, "")?;
    let mut talks = Vec::new();
    for (vip, to, real) in
        [("web", Rack::web(), address::real(1)), ("web6", Rack::web6(), address::real6(1))]
    {
        talks.push(Talk::open_on(&rack.lab, to, 1)?);
        rack.lbctl(&["real", "drain", vip, &real.to_string(), "--timeout", "10m"])?;
        // A third of the slots have a previous owner now: some of these are noted.
        for _ in 0..20 {
            talks.push(Talk::open(rack.lab.client(), to)?);
        }
    }
    let least = arrays(1 << 22, 1 << 16);
    assert_eq!(pinned(&rack.lab)?, least);

    let file = rack.daemon.config_file();
    let before = fs::read_to_string(&file)?;
    let larger = before.replacen(
        "\n[[vip]]\nname = \"web6\"",
        &format!("{}\n[[vip]]\nname = \"web6\"", idle()),
        1,
    ) + &large(16);
    let wanted = rack.lab.dir().join("larger.toml");
    fs::write(&wanted, &larger)?;
    let refused = rack.daemon.lbctl(&["apply", "-f", wanted.to_str().context("a path")?])?;
    assert_eq!(refused.code, 1);
    let said = "vip \"large16\": no room for a ring of 262139 slots (all rings together have 4194304): put it \
                into the configuration file and restart lbd, which then makes larger tables; nothing is \
                interrupted";
    assert!(refused.stderr.contains(said), "{}", refused.stderr);
    assert_eq!(fs::read_to_string(&file)?, before, "nothing was changed");
    assert_eq!(rack.status()?["vips"].as_array().map(Vec::len), Some(2));
    talks.iter().try_for_each(Talk::goes_on)?;

    fs::write(&file, &larger)?;
    let counted = flows(&rack)?;
    let served = under_connections(&rack.lab, &mut rack.daemon, Daemon::restart)?;
    assert!(served > 0);
    assert_eq!(rack.status()?["vips"].as_array().map(Vec::len), Some(18));
    talks.iter().try_for_each(Talk::goes_on)?;
    assert!(flows(&rack)? >= counted + served, "counters go on");
    let large = arrays(1 << 23, 1 << 16);
    assert_eq!(pinned(&rack.lab)?, large);

    // What is there never becomes smaller.
    fs::write(&file, &before)?;
    let counted = flows(&rack)?;
    let served = under_connections(&rack.lab, &mut rack.daemon, Daemon::restart)?;
    assert!(flows(&rack)? >= counted + served, "counters go on");
    assert_eq!(pinned(&rack.lab)?, large);
    talks.iter().try_for_each(Talk::goes_on)?;
    talks.into_iter().try_for_each(Talk::close)
}

/// A datapath on what is pinned, or on larger arrays with what is in them.
fn load(lab: &Lab, room: Room) -> Result<Kernel> {
    let flows = FlowTables::LEAST;
    Ok(Kernel::load(&Loader {
        pin_dir: Some(lab.pin_dir()),
        seed: Seed([1, 2]),
        log: false,
        tables: FlowTables { pinned: flows, fresh: flows, datagrams: flows },
        room,
    })?)
}

async fn attach(lab: &Lab, kernel: &mut Kernel) -> Result<()> {
    kernel.attach_all(&[(1, "eth0")], XdpChoice::Auto, &lab.pin_dir()).await?;
    assert!(!kernel.is_growing());
    Ok(())
}

fn in_runtime<T: Send>(lab: &Lab, work: impl AsyncFnOnce() -> Result<T> + Send) -> Result<T> {
    lab.in_balancer(|| {
        tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work())
    })
}

/// What stands in the tables, but for their size.
fn standing(kernel: &Kernel) -> String {
    let state = kernel.state();
    let times: Vec<_> = (0..state.room.slots.min(1 << 13)).map(|slot| kernel.times(slot)).collect();
    format!("{:?} {:?} {times:?}", state.blocks, state.entries)
}

/// Leaves of the arrays with this room what a start leaves that was killed before it had copied everything.
fn forget(lab: &Lab, room: Room) -> Result<()> {
    fn clear<V: Pod>(file: PathBuf, indices: u32, nothing: V) -> Result<()> {
        let mut array: Array<_, V> = Array::try_from(Map::Array(MapData::from_pin(file)?))?;
        (0..indices).try_for_each(|index| Ok(array.set(index, nothing, 0)?))
    }
    let file = |name: String| lab.pin_dir().join(format!("layout-{LAYOUT}/{name}"));
    clear(file(format!("RINGS-{}", room.slots / 16)), 64, SlotBlock([0; 16]))?;
    clear(file(format!("TIMES-{}", room.slots)), 1000, 0u64)?;
    clear(file(format!("REALS-{}", room.places)), 16, 0u64)
}

#[test]
fn a_start_that_was_killed_while_it_made_larger_tables_is_begun_anew_with_whole_ones() -> Result<()>
{
    let lab = Lab::new(LabOptions::reals(1))?;
    let room =
        |factor| Room { slots: Room::LEAST.slots * factor, places: Room::LEAST.places * factor };
    let files = |factor| arrays(room(factor).slots, room(factor).places);
    let vips = config::parse(&lab.config(&Rack::both(1, "")))?.vips;
    let desired = |role: Role, now: u32| {
        let real = |real: &Real| DesiredReal {
            address: real.address,
            weight: real.weight,
            word: RealWord::new([2; 6], 1),
            role,
        };
        let vips = vips.iter().map(|vip: &Vip| DesiredVip::new(vip, false, real)).collect();
        Desired { seed: Seed([1, 2]), now: Tick(now), vips }
    };
    in_runtime(&lab, async || {
        let mut kernel = load(&lab, room(1))?;
        attach(&lab, &mut kernel).await?;
        let first = plan(&kernel.state(), &desired(Role::ACTIVE, 5))?;
        kernel.apply(&first.ops)?;
        let next = plan(&first.state, &desired(Role::Draining, 7))?;
        kernel.apply(&next.ops)?;
        let there = standing(&kernel);
        drop(kernel);
        // Two that have not come to their end. What they have left is as if only some of it was copied.
        for factor in [4, 8] {
            let kernel = load(&lab, room(factor))?;
            assert!(kernel.is_growing() && kernel.room() == room(factor));
            assert_eq!(standing(&kernel), there);
        }
        assert_eq!(pinned(&lab)?.len(), 3 * ARRAYS.len());
        forget(&lab, room(4))?;
        for (wanted, made) in [(2, 2), (1, 2), (4, 4)] {
            let mut kernel = load(&lab, room(wanted))?;
            assert_eq!((standing(&kernel), kernel.room()), (there.clone(), room(made)));
            attach(&lab, &mut kernel).await?;
            assert_eq!(standing(&kernel), there);
            assert_eq!(pinned(&lab)?, files(made));
        }
        Ok(())
    })
}
