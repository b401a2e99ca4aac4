//! How many reals of a VIP must be up: `min_up`, `min_up_high`, `panic_threshold`.

use crate::{
    config::raw::Table,
    model::{Amount, Watermarks},
};

pub(super) fn watermarks(table: &Table<'_>) -> Option<Watermarks> {
    let (low, high) = (table.amount("min_up"), table.amount("min_up_high"));
    if table.has("min_up_high") && !table.has("min_up") {
        let reason = "min_up_high is where a VIP returns that min_up has taken down; write min_up too, or remove it";
        table.refuse(table.place_of("min_up_high"), reason);
    }
    let low = low?;
    let high = high.unwrap_or(low);
    if let Some(reason) = wrong(low, high) {
        table.refuse(table.place_of("min_up_high"), reason);
    }
    Some(Watermarks { low, high })
}

fn wrong(low: Amount, high: Amount) -> Option<String> {
    let below = match (low, high) {
        (Amount::Count(low), Amount::Count(high)) => high < low,
        (Amount::Share(low), Amount::Share(high)) => high < low,
        _ => {
            return Some(format!(
                "min_up_high {high} and min_up {low} cannot be compared; write two numbers or two shares"
            ));
        }
    };
    below
        .then(|| format!("min_up_high {high} is less than min_up {low}; raise it, or lower min_up"))
}

pub(super) fn panic_threshold(table: &Table<'_>) -> Option<u8> {
    let text = table.text("panic_threshold")?;
    if table.has("min_up") {
        table.refuse(
            table.place_of("panic_threshold"),
            "panic_threshold keeps a VIP up when few reals are, min_up takes it down then; remove one of them",
        );
    }
    match text.get_ref().parse() {
        Ok(Amount::Share(share)) => Some(share),
        _ => {
            let found = text.get_ref();
            table.refuse(
                text.span(),
                format_args!(
                    "panic_threshold \"{found}\" is not a share of the reals; write 1% to 100%"
                ),
            );
            None
        }
    }
}
