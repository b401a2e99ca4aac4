//! The node, all that goes through it, and what it discards.

use lb_user::api::types::InterfaceStatus;
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Modifier, Style},
    text::Line,
    widgets::Sparkline,
};

use super::{
    super::meter::{Rate, Whose},
    View,
    table::amount,
};
use crate::output::count;

impl View<'_> {
    /// Three lines.
    pub(super) fn header(&self, frame: &mut Frame<'_>, area: Rect) {
        let [node, total, drops] = Layout::vertical([Constraint::Length(1); 3]).areas(area);
        self.node(frame, node);
        match self.model.doubt(self.now) {
            Some(doubt) => {
                let style = self.look.bad().add_modifier(Modifier::REVERSED);
                frame.render_widget(Line::styled(self.cut(&doubt, total.width), style), total);
            }
            None => {
                let line = format!("total  {}", traffic(self.model.meter.rate(&Whose::Everybodys)));
                frame.render_widget(Line::from(self.cut(&line, total.width)), total);
            }
        }
        self.drops(frame, drops);
    }

    fn node(&self, frame: &mut Frame<'_>, area: Rect) {
        let node = &self.model.status.node;
        let attached =
            node.interfaces.iter().map(|InterfaceStatus { name, xdp, state, .. }| {
                let down = if state == "down" { ", down" } else { "" };
                format!("{name} ({xdp}{down})")
            });
        let attached = attached.collect::<Vec<_>>().join(", ");
        let attached = if attached.is_empty() { "no interface" } else { &attached };
        let clock = self.clock.strftime("%H:%M:%S UTC").to_string();
        let left = format!("lbd {}  XDP on {attached}", node.version);
        let room = area.width.saturating_sub(clock.len() as u16 + 1);
        let style = Style::new().add_modifier(Modifier::BOLD);
        frame.render_widget(Line::styled(self.cut(&left, room), style), area);
        frame.render_widget(Line::from(clock).right_aligned(), area);
    }

    /// What is discarded now, or else what has been.
    fn drops(&self, frame: &mut Frame<'_>, area: Rect) {
        let drops = self.model.meter.drops();
        let now = drops.iter().filter(|drops| drops.rate.is_some_and(|rate| rate > 0.0));
        let now: Vec<_> =
            now.map(|drops| format!("{} {}/s", drops.label, amount(drops.rate))).collect();
        let ever = drops.iter().filter(|drops| drops.frames > 0);
        let ever: Vec<_> =
            ever.map(|drops| format!("{} {}", drops.label, count(drops.frames))).collect();
        let (line, style) = if !now.is_empty() {
            (format!("drops  {}", now.join("  ")), self.look.odd())
        } else if !ever.is_empty() {
            (format!("drops  none now; so far {}", ever.join("  ")), Style::new())
        } else {
            ("drops  none".to_owned(), Style::new())
        };
        frame.render_widget(Line::styled(self.cut(&line, area.width), style), area);
    }

    /// How it went: of all, and of what is selected.
    pub(super) fn curves(&self, frame: &mut Frame<'_>, area: Rect) {
        if area.height == 0 {
            return;
        }
        let model = self.model;
        let all = ("all VIPs".to_owned(), Whose::Everybodys);
        let vip = model.vip().map(|vip| (vip.name.clone(), Whose::Vips(vip.name.clone())));
        let real = |vip: &str| {
            let real = model.real()?.address;
            Some((real.to_string(), Whose::Reals(vip.to_owned(), real)))
        };
        let curves = match vip {
            None => vec![all],
            Some(vip) => match real(&vip.0) {
                None => vec![all, vip],
                Some(real) => vec![vip, real],
            },
        };
        let areas = Layout::horizontal(curves.iter().map(|_| Constraint::Fill(1))).spacing(2);
        for (area, (name, whose)) in areas.split(area).iter().zip(&curves) {
            self.curve(frame, *area, name, whose);
        }
    }

    fn curve(&self, frame: &mut Frame<'_>, area: Rect, name: &str, whose: &Whose) {
        let past = self.model.meter.past(whose, area.width.into());
        let highest = past.iter().flatten().max().copied();
        let highest = highest.map_or_else(|| "-".to_owned(), count);
        let title = format!("{name}, packets/s, up to {highest}");
        let inner = self.section(frame, area, &title);
        let curve =
            Sparkline::default().data(past).bar_set(self.look.bars()).absent_value_symbol(" ");
        frame.render_widget(curve, inner);
    }
}

/// All that goes through, in words.
pub(super) fn traffic(rate: Option<Rate>) -> String {
    format!(
        "{} packets/s  {} bits/s  {} new flows/s",
        amount(rate.map(|rate| rate.packets)),
        amount(rate.map(|rate| rate.bits)),
        amount(rate.map(|rate| rate.flows))
    )
}
