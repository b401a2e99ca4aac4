//! Answers and keys in, a screen out.

use std::time::{Duration, Instant};

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use jiff::Timestamp;
use lb_user::api::types::{EventLine, Status};
use ratatui::{Terminal, backend::TestBackend, style::Color};

use super::{
    deed::{Deed, Kind},
    keys::Effect,
    look::Look,
    meter::{Meter, Rate, Whose},
    model::{Mode, Model},
    view::View,
};
use crate::tests::fixed;

const SECOND: Duration = Duration::from_secs(1);

/// A model, and when it was made.
struct Scene {
    model: Model,
    start: Instant,
    clock: Timestamp,
    look: Look,
}

impl Scene {
    fn new(open: Option<&str>) -> Self {
        let (status, clock) = fixed();
        let start = Instant::now();
        let model = Model::new(SECOND, status, start, open.map(str::to_owned));
        Self { model, start, clock, look: Look { color: true, unicode: true } }
    }

    /// The status after so many seconds, with this changed.
    fn hear(&mut self, seconds: u64, change: impl FnOnce(&mut Status)) {
        let mut status = self.model.status.clone();
        change(&mut status);
        self.model.hear(self.start + SECOND * seconds as u32, Ok(status));
    }

    fn press(&mut self, keys: &str) -> Effect {
        let code = |letter| match letter {
            '\n' => KeyCode::Enter,
            '\u{1b}' => KeyCode::Esc,
            '\u{8}' => KeyCode::Backspace,
            letter => KeyCode::Char(letter),
        };
        let press = |letter| KeyEvent::new(code(letter), KeyModifiers::NONE);
        let effects = keys.chars().map(|letter| self.model.press(press(letter)));
        effects.last().unwrap_or(Effect::None)
    }

    fn terminal(&self, (width, height): (u16, u16), later: Duration) -> Terminal<TestBackend> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        let (now, clock) = (self.start + later, self.clock);
        let view = View { model: &self.model, look: self.look, now, clock };
        terminal.draw(|frame| view.draw(frame)).unwrap();
        terminal
    }

    fn screen_at(&self, width: u16, height: u16) -> String {
        let terminal = self.terminal((width, height), Duration::ZERO);
        let buffer = terminal.backend().buffer();
        let row = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
        (0..height).map(|y| row(y).trim_end().to_owned() + "\n").collect()
    }

    fn screen(&self) -> String {
        self.screen_at(80, 24)
    }

    fn shows(&self, part: &str) {
        let screen = self.screen();
        assert!(screen.contains(part), "no {part:?} in\n{screen}");
    }
}

#[test]
fn a_small_terminal_has_room_for_all_of_it() {
    let mut scene = Scene::new(None);
    scene.hear(2, |status| {
        let web = &mut status.vips[0];
        (web.packets, web.bytes, web.flows) =
            (web.packets + 2468, web.bytes + 250_000, web.flows + 3);
        status.outcomes["truncated"] = 7.into();
    });
    scene.model.hear_event(event(r#""event":"config","change":"real 10.0.0.11 was added"}"#));
    let expected = "\
lbd 0.1.0  XDP on eth0 (native), eth1 (generic, down)               01:00:00 UTC
total  1234 packets/s  1.0M bits/s  1.5 new flows/s
drops  truncated 2.0/s
all VIPs, packets/s, up to 1234 ───────  dns, packets/s, up to 0 ───────────────
 █
 █
VIPs ───────────────────────────────────────────────────────────────────────────
VIP ADDRESS      STATE      REALS PACKETS/S  BITS/S FLOWS/S REASON
dns 2001:db8::53 down         0/0         0       0       0
web 192.0.2.10   degraded     1/2      1234    1.0M     1.5 1 of 2 reals is down
dns: down ──────────────────────────────────────────────────────────────────────
no reals: add one with `lbctl real add`

Events (UTC) ───────────────────────────────────────────────────────────────────
13:52:03  real 10.0.0.11 was added








Enter open  / filter  s sort  ? help  q quit
";
    assert_eq!(scene.screen(), expected);
}

#[test]
fn an_open_vip_shows_its_reals_and_why_the_selected_one_is_as_it_is() {
    let mut scene = Scene::new(Some("web"));
    scene.hear(1, |status| status.vips[0].reals[0].packets += 99);
    let screen = scene.screen_at(132, 24);
    for line in [
        "web  192.0.2.10  tcp/80 tcp/443  degraded: 1 of 2 reals is down ─",
        "REAL      HEALTH  STATE    WEIGHT  SHARE PACKETS/S  BITS/S FLOWS/S REASON",
        "10.0.0.12 down    active       10   0.0%         0       0       0 neighbour unresolved",
        "10.0.0.11 up      active        1 100.0%        99       0       0 http 200 in 0.8 ms",
        "10.0.0.12 is down for 12s: neighbour unresolved; no way to it; weight 10, share 0.0%",
    ] {
        assert!(screen.contains(line), "no {line:?} in\n{screen}");
    }
}

fn event(rest: &str) -> EventLine {
    let line = format!(r#"{{"number":7,"time":"2026-11-21T13:52:03Z",{rest}"#);
    serde_json::from_str(&line).unwrap()
}

#[test]
fn events_of_an_open_vip_are_its_own() {
    let mut scene = Scene::new(Some("web"));
    for rest in [
        r#""event":"vip","vip":"web","to":"up","reason":"of web"}"#,
        r#""event":"vip","vip":"dns","to":"up","reason":"of dns"}"#,
        r#""event":"neighbour","real":"10.0.0.12"}"#,
        r#""event":"neighbour","real":"10.0.0.99"}"#,
        r#""event":"announce","address":"192.0.2.10","interface":"eth0","announced":true}"#,
        r#""event":"config","change":"applied"}"#,
    ] {
        scene.model.hear_event(event(rest));
    }
    assert_eq!(scene.model.shown_events().len(), 4);
    scene.shows("13:52:03  vip web: up: of web");
    scene.press("\u{1b}");
    assert_eq!(scene.model.shown_events().len(), 6);
    scene.model.hear_events_anew();
    scene.shows("nothing yet");
}

#[test]
fn a_terminal_too_small_says_so_and_no_size_breaks_anything() {
    let mut scene = Scene::new(Some("web"));
    for size in [(59, 24), (80, 14), (1, 1), (10, 3)] {
        let screen = scene.screen_at(size.0, size.1);
        let said = format!("{}x{} is too small", size.0, size.1);
        let flat = screen.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(flat.contains(&said) || size.0 < 20, "{screen}");
        assert!(!screen.contains("10.0.0"), "{screen}");
    }
    for keys in ["", "?", "\nd", "\u{1b}\u{1b}", "/web"] {
        scene.press(keys);
        for width in (60..300).step_by(7) {
            for height in (15..80).step_by(5) {
                scene.screen_at(width, height);
            }
        }
    }
    let least = Scene::new(Some("web")).screen_at(60, 15);
    for part in ["10.0.0.11", "10.0.0.12", "PACKETS/S", "Events", "q quit"] {
        assert!(least.contains(part), "no {part:?} in\n{least}");
    }
}

#[test]
fn nothing_is_done_to_a_real_without_a_yes_to_a_question_that_names_it() {
    let mut scene = Scene::new(None);
    assert_eq!(scene.press("d"), Effect::None);
    scene.shows("Enter opens the VIP");
    assert_eq!(scene.press("j\njd"), Effect::None);
    let Mode::Confirm(deed, question) = scene.model.mode.clone() else { panic!("no question") };
    let real = [10, 0, 0, 11].into();
    let drain = Deed { kind: Kind::Drain, vip: "web".into(), real };
    assert_eq!(deed, drain);
    assert_eq!(
        question,
        "Drain real 10.0.0.11 of VIP web? It gets no new flows. Those it has go on until they end, 1h at \
         the longest. NO OTHER REAL SERVES: new flows go to the sorry server 10.0.0.99."
    );
    scene.shows("Drain real 10.0.0.11 of VIP web?");
    scene.shows("y  do it     n  leave it");
    // Neither a stray key nor Enter is an answer, and meanwhile no other real comes to be meant.
    assert_eq!(scene.press("jkd\n"), Effect::None);
    scene.hear(1, |status| status.vips[0].reals.reverse());
    assert_eq!(scene.press("y"), Effect::Do(drain));
    scene.model.note = Some("lbd says no".into());
    scene.shows("lbd says no");
    scene.press("d");
    assert_eq!(scene.press("n"), Effect::None);
    scene.shows("nothing was done");
    scene.press("d");
    assert_eq!(scene.press("q"), Effect::None, "no, not the end");
}

#[test]
fn a_real_is_enabled_and_what_is_so_already_is_said() {
    let mut scene = Scene::new(Some("web"));
    scene.press("e");
    scene.shows("10.0.0.12 is active already");
    scene.hear(1, |status| status.vips[0].reals[1].state = "drain".into());
    scene.press("d");
    scene.shows("10.0.0.12 is draining already");
    scene.press("e");
    scene.shows("Enable real 10.0.0.12 of VIP web?");
    let enable = Deed { kind: Kind::Enable, vip: "web".into(), real: [10, 0, 0, 12].into() };
    assert_eq!(scene.press("y"), Effect::Do(enable));
    scene.hear(2, |status| {
        status.vips[0].reals[1].state = "active".into();
        status.vips[0].reals[1].forced_up = true;
    });
    scene.press("e");
    scene.shows("It goes by its checks again");
    scene.press("n");
    scene.hear(3, |status| status.vips[0].reals[1].state = "disabled".into());
    scene.press("d");
    scene.shows("10.0.0.12 is disabled");
}

#[test]
fn a_question_tells_of_what_is_now() {
    let mut scene = Scene::new(Some("web"));
    scene.press("jd");
    scene.shows("Drain real 10.0.0.11 of VIP web?");
    scene.hear(1, |status| status.vips[0].drain_timeout = "7m".into());
    scene.shows("7m at the longest");
    scene.hear(2, |status| status.vips[0].reals[0].state = "drain".into());
    scene.shows("10.0.0.11 is draining already");
    assert_eq!(scene.press("y"), Effect::None);

    scene.press("e");
    scene.shows("with weight 1");
    scene.hear(3, |status| status.vips[0].reals[0].weight = 0);
    scene.shows("Its weight is 0");
    scene.hear(4, |status| drop(status.vips[0].reals.remove(0)));
    scene.shows("10.0.0.11 is not in the pool of web any more");
}

#[test]
fn why_no_events_are_told_is_told() {
    let mut scene = Scene::new(None);
    scene.shows("nothing yet");
    scene.model.no_events = Some("no role".into());
    scene.shows("not told: no role");
}

#[test]
fn reals_of_ipv6_are_told_apart_on_a_small_terminal() {
    let mut scene = Scene::new(Some("web"));
    let addresses = ["2001:db8:aaaa:bbbb:cccc::1", "2001:db8:aaaa:bbbb:cccc::2"];
    scene.hear(1, |status| {
        for (real, address) in status.vips[0].reals.iter_mut().zip(addresses) {
            real.address = address.parse().unwrap();
        }
    });
    for (width, height) in [(80, 24), (60, 15)] {
        let screen = scene.screen_at(width, height);
        for address in addresses {
            let rows = screen.lines().filter(|line| line.starts_with(&format!("{address} ")));
            assert!(rows.count() > 0, "{address}:\n{screen}");
        }
    }
    let wide = scene.screen_at(132, 24);
    assert!(wide.contains("WEIGHT  SHARE PACKETS/S"), "{wide}");
}

#[test]
fn rows_are_filtered_and_sorted_and_the_selection_stays_with_its_row() {
    let mut scene = Scene::new(None);
    let names = |scene: &Scene| {
        scene.model.shown_vips().iter().map(|vip| vip.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(&scene), ["dns", "web"], "what is down is first");
    scene.press("j");
    scene.hear(1, |status| {
        status.vips[1].state = "up".into();
        status.vips[0].packets += 5;
        status.vips[1].packets += 50;
    });
    assert_eq!(names(&scene), ["web", "dns"]);
    assert_eq!(scene.model.vip().unwrap().name, "web");
    scene.press("s");
    assert_eq!(names(&scene), ["dns", "web"], "the busiest first");
    scene.press("s/WEBq");
    assert!(names(&scene).is_empty());
    scene.shows("/WEBq_");
    scene.shows("nothing matches the filter");
    scene.press("\u{8}\n");
    assert_eq!(names(&scene), ["web"]);
    scene.shows("1 of 2 with \"WEB\": VIPs");
    scene.press("\n");
    assert_eq!(scene.model.open.as_deref(), Some("web"));
    scene.press("/unresolved\n");
    assert_eq!(scene.model.real().unwrap().address, std::net::IpAddr::from([10, 0, 0, 12]));
    scene.shows("1 of 2 with \"unresolved\"");
    scene.press("\u{1b}\u{1b}\u{1b}");
    assert_eq!(scene.model.open, None);
    assert_eq!(names(&scene), ["dns", "web"]);
}

#[test]
fn long_lists_are_scrolled() {
    let mut scene = Scene::new(Some("web"));
    scene.hear(1, |status| {
        let real = status.vips[0].reals[0].clone();
        status.vips[0].reals = (1..=200)
            .map(|last| {
                let mut real = real.clone();
                real.address = [10, 0, 7, last].into();
                real
            })
            .collect();
    });
    scene.shows("10.0.7.1 ");
    scene.press("G");
    scene.shows("10.0.7.200 ");
    assert!(!scene.screen().contains("10.0.7.1 "));
    scene.press("g");
    scene.shows("10.0.7.1 ");
}

#[test]
fn a_vip_that_goes_while_it_is_open_is_told() {
    let mut scene = Scene::new(Some("web"));
    scene.press("d");
    scene.hear(1, |status| drop(status.vips.remove(0)));
    assert_eq!(scene.model.open, None);
    scene.press("n");
    scene.hear(2, |status| status.vips.clear());
    scene.shows("no VIPs: add one with `lbctl vip add`");
    assert_eq!(scene.press("\njkde\n"), Effect::None);
}

#[test]
fn a_silent_daemon_is_told_and_what_it_said_last_is_shown_without_rates() {
    let mut scene = Scene::new(None);
    scene.hear(1, |status| status.vips[0].packets += 5);
    scene.shows("total  5.0 packets/s");
    scene
        .model
        .hear(scene.start + SECOND * 2, Err("lbd cannot be reached, trying again: x".into()));
    scene.shows("lbd cannot be reached, trying again: x");
    scene.shows("web 192.0.2.10   degraded     1/2         -       -       -");
    scene.hear(5, |status| status.vips[0].packets += 40);
    scene.shows("total  10 packets/s");
    let late = scene.terminal((80, 24), SECOND * 10).backend().to_string();
    assert!(late.contains("lbd has not answered for 5s"), "{late}");
}

#[test]
fn colours_mark_only_what_is_not_well_and_there_are_none_where_nobody_wants_them() {
    let mut scene = Scene::new(None);
    let colours = |scene: &Scene| {
        let terminal = scene.terminal((80, 24), Duration::ZERO);
        let cells = terminal.backend().buffer().content().to_vec();
        let coloured = |colour| cells.iter().filter(|cell| cell.fg == colour).count();
        (coloured(Color::Red), coloured(Color::Yellow), coloured(Color::Reset) == cells.len())
    };
    assert_eq!(colours(&scene), ("down".len() + 4, "degraded".len(), false));
    scene.look.color = false;
    assert!(colours(&scene).2);
    scene.look.unicode = false;
    scene.press("?");
    assert!(scene.screen().is_ascii(), "{}", scene.screen());
}

#[test]
fn control_keys_end_suspend_and_redraw() {
    let mut scene = Scene::new(None);
    for (key, effect) in
        [('c', Effect::Quit), ('z', Effect::Suspend), ('l', Effect::Refresh), ('d', Effect::None)]
    {
        let key = KeyEvent::new(KeyCode::Char(key), KeyModifiers::CONTROL);
        assert_eq!(scene.model.press(key), effect);
    }
    assert_eq!(scene.press("?x?"), Effect::None);
    assert_eq!(scene.press("q"), Effect::Quit);
}

fn whose_web() -> Whose {
    Whose::Vips("web".into())
}

#[test]
fn a_rate_is_what_came_in_a_second_and_not_known_of_what_began_anew() {
    let (mut status, _) = fixed();
    let start = Instant::now();
    let mut meter = Meter::default();
    meter.take(start, &status, None);
    assert_eq!(meter.rate(&whose_web()), None, "one answer is none");
    let real = Whose::Reals("web".into(), [10, 0, 0, 11].into());

    status.vips[0].packets += 100;
    status.vips[0].bytes += 1000;
    status.vips[0].flows += 10;
    status.vips[0].reals[0].packets = 3;
    meter.take(start + SECOND * 2, &status, None);
    let rate = Rate { packets: 50.0, bits: 4000.0, flows: 5.0 };
    assert_eq!(meter.rate(&whose_web()), Some(rate));
    assert_eq!(meter.rate(&Whose::Everybodys), Some(rate));
    assert_eq!(meter.rate(&real), None, "its counter began anew");
    assert_eq!(meter.past(&whose_web(), 10), [None, Some(50)]);

    // Too soon after the last to tell anything, and not forgotten either.
    meter.take(start + SECOND * 2, &status, None);
    assert_eq!(meter.rate(&whose_web()), Some(rate));

    meter.miss();
    assert_eq!(meter.rate(&whose_web()), None);
    status.vips[0].packets += 60;
    status.vips[0].reals[0].packets += 8;
    meter.take(start + SECOND * 6, &status, None);
    assert_eq!(meter.rate(&whose_web()).map(|rate| rate.packets), Some(15.0), "over all that time");
    assert_eq!(meter.rate(&real).map(|rate| rate.packets), Some(2.0));
    assert_eq!(meter.past(&whose_web(), 2), [None, Some(15)]);
}

#[test]
fn vips_and_reals_come_and_go_without_a_leap_of_the_total() {
    let (mut status, _) = fixed();
    let start = Instant::now();
    let mut meter = Meter::default();
    meter.take(start, &status, None);
    let web = status.vips.remove(0);
    meter.take(start + SECOND, &status, None);
    assert_eq!(meter.rate(&whose_web()), None);
    assert_eq!(meter.rate(&Whose::Everybodys), Some(Rate::default()));
    assert_eq!(meter.past(&whose_web(), 5), [], "forgotten");
    status.vips.push(web);
    meter.take(start + SECOND * 2, &status, None);
    assert_eq!(meter.rate(&whose_web()), None, "all it has ever had is not of this second");
    assert_eq!(meter.rate(&Whose::Everybodys), Some(Rate::default()));
    status.vips.clear();
    meter.take(start + SECOND * 3, &status, None);
    assert_eq!(meter.rate(&Whose::Everybodys), Some(Rate::default()), "none, for sure");
}

#[test]
fn the_past_of_reals_is_kept_while_their_vip_is_open() {
    let (status, _) = fixed();
    let start = Instant::now();
    let mut meter = Meter::default();
    let real = Whose::Reals("web".into(), [10, 0, 0, 11].into());
    for (seconds, open, remembered) in
        [(0, None, 0), (1, Some("web"), 1), (2, Some("web"), 2), (3, Some("dns"), 0)]
    {
        meter.take(start + SECOND * seconds, &status, open);
        assert_eq!(meter.past(&real, 9).len(), remembered, "{seconds} s");
        assert_eq!(meter.past(&whose_web(), 9).len(), seconds as usize + 1);
    }
}

#[test]
fn drops_are_told_by_outcome_and_what_is_no_drop_is_none() {
    let (mut status, _) = fixed();
    let start = Instant::now();
    let mut meter = Meter::default();
    meter.take(start, &status, None);
    status.outcomes["truncated"] = 13.into();
    status.outcomes["forwarded"] = 9_999_999.into();
    meter.take(start + SECOND, &status, None);
    let [drops] = meter.drops() else { panic!("{:?}", meter.drops()) };
    assert_eq!((drops.label, drops.frames, drops.rate), ("truncated", 13, Some(10.0)));
}
