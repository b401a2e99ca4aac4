//! The tables of VIPs and reals.

use lb_user::api::types::{RealStatus, VipStatus};
use ratatui::{
    Frame,
    layout::Rect,
    style::{Modifier, Style},
    text::Line,
    widgets::{Paragraph, Wrap},
};

use super::{
    super::meter::{Rate, Whose},
    View,
    table::{self, Cells, Column, amount},
};
use crate::{
    output::{age, percent},
    real, vip,
};

/// How wide the columns of rates are.
const RATE: usize = 9;

/// How wide the widest of these is.
fn widest<'t>(texts: impl Iterator<Item = &'t Cells>, at: usize) -> usize {
    texts.filter_map(|cells| cells.get(at)).map(|(text, _)| text.chars().count()).max().unwrap_or(0)
}

/// Packets, bits and flows.
fn rates(rate: Option<Rate>) -> [(String, Style); 3] {
    [rate.map(|rate| rate.packets), rate.map(|rate| rate.bits), rate.map(|rate| rate.flows)]
        .map(|rate| (amount(rate), Style::new()))
}

impl View<'_> {
    pub(super) fn vip_table(&self, frame: &mut Frame<'_>, area: Rect) {
        let shown = self.model.shown_vips();
        let all = self.model.status.vips.len();
        let title = self.title("VIPs", &self.model.vips.filter, (shown.len(), all));
        let inner = self.section(frame, area, &title);
        if shown.is_empty() {
            let what = "no VIPs: add one with `lbctl vip add`";
            return frame.render_widget(Line::from(nothing(all, what)), inner);
        }
        let rows: Vec<Cells> = shown.iter().map(|vip| self.vip_cells(vip)).collect();
        let columns = [
            Column::words("VIP", widest(rows.iter(), 0), 0),
            Column::words("ADDRESS", widest(rows.iter(), 1), 2),
            Column::words("STATE", 8, 0),
            Column::number("REALS", widest(rows.iter(), 3).max(7), 0),
            Column::number("PACKETS/S", RATE, 0),
            Column::number("BITS/S", 7, 0),
            Column::number("FLOWS/S", 7, 1),
            Column::words("REASON", 20, 3),
        ];
        let place = Some(self.model.vips.cursor.place());
        table::draw(frame, inner, (&columns, &rows), place, self.look.ellipsis());
    }

    fn vip_cells(&self, vip: &VipStatus) -> Cells {
        let serving = vip.reals.iter().filter(|real| real.share > 0.0).count();
        let [packets, bits, flows] = rates(self.model.meter.rate(&Whose::Vips(vip.name.clone())));
        vec![
            (vip.name.clone(), Style::new()),
            (vip.address.to_string(), Style::new()),
            (vip.state.clone(), self.colour_of(&vip.state)),
            (format!("{serving}/{}", vip.reals.len()), Style::new()),
            packets,
            bits,
            flows,
            (vip.reason.clone(), Style::new()),
        ]
    }

    /// The reals of the open or else the selected VIP.
    pub(super) fn real_table(&self, frame: &mut Frame<'_>, area: Rect) {
        let Some(vip) = self.model.vip() else { return };
        let (shown, all) = (self.model.shown_reals(vip), vip.reals.len());
        let open = self.model.open.is_some();
        let filter = if open { self.model.reals.filter.as_str() } else { "" };
        let name = if open {
            format!("{}  {}  {}  {}", vip.name, vip.address, vip.ports.join(" "), vip::state(vip))
        } else {
            format!("{}: {}", vip.name, vip::state(vip))
        };
        let inner = self.section(frame, area, &self.title(&name, filter, (shown.len(), all)));
        if shown.is_empty() {
            let what = "no reals: add one with `lbctl real add`";
            return frame.render_widget(Line::from(nothing(all, what)), inner);
        }
        let rows: Vec<Cells> = shown.iter().map(|real| self.real_cells(vip, real)).collect();
        let columns = [
            // Addresses of IPv6 differ in their last letters.
            Column::words("REAL", widest(rows.iter(), 0), 0).whole(),
            Column::words("HEALTH", 7, 0),
            Column::words("STATE", 8, 0),
            Column::number("WEIGHT", 6, 4),
            Column::number("SHARE", 6, 3),
            Column::number("PACKETS/S", RATE, 0),
            Column::number("BITS/S", 7, 1),
            Column::number("FLOWS/S", 7, 2),
            Column::words("REASON", 20, 5),
        ];
        let place = open.then(|| self.model.reals.cursor.place());
        table::draw(frame, inner, (&columns, &rows), place, self.look.ellipsis());
    }

    fn real_cells(&self, vip: &VipStatus, real: &RealStatus) -> Cells {
        let whose = Whose::Reals(vip.name.clone(), real.address);
        let [packets, bits, flows] = rates(self.model.meter.rate(&whose));
        vec![
            (real.address.to_string(), Style::new()),
            (real.health.clone(), self.colour_of(&real.health)),
            (real.state.clone(), self.colour_of(&real.state)),
            (real.weight.to_string(), Style::new()),
            (percent(real.share), Style::new()),
            packets,
            bits,
            flows,
            (real::reason(real), Style::new()),
        ]
    }

    /// All about the selected real that has no room in its row.
    pub(super) fn detail(&self, frame: &mut Frame<'_>, area: Rect) {
        let Some(real) = self.model.real() else { return };
        let way = match (&real.interface, &real.mac) {
            (Some(interface), Some(mac)) => format!("{mac} on {interface}"),
            (Some(interface), None) => format!("no MAC address, on {interface}"),
            (None, _) => "no way to it".to_owned(),
        };
        let text = format!(
            "{} is {} for {}: {}; {way}; weight {}, share {}",
            real.address,
            real.health,
            age(real.since, self.clock),
            real::reason(real),
            real.weight,
            percent(real.share),
        );
        let inner = self.section(frame, area, "Selected");
        let most = inner.width.saturating_mul(inner.height);
        let text = Paragraph::new(self.cut(&text, most)).wrap(Wrap { trim: true });
        frame.render_widget(text, inner);
    }

    fn title(&self, name: &str, filter: &str, (shown, all): (usize, usize)) -> String {
        if filter.is_empty() {
            name.to_owned()
        } else {
            format!("{shown} of {all} with \"{filter}\": {name}")
        }
    }

    /// Of a state or a health.
    fn colour_of(&self, word: &str) -> Style {
        match word {
            "down" => self.look.bad(),
            "degraded" | "drain" | "disabled" => self.look.odd(),
            "up" | "active" => Style::new(),
            _ => Style::new().add_modifier(Modifier::DIM),
        }
    }
}

/// Why a table is empty.
fn nothing(all: usize, none: &str) -> String {
    if all == 0 { none.to_owned() } else { "nothing matches the filter: Esc clears it".to_owned() }
}
