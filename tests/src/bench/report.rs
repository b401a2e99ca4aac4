//! What the benchmark prints: Markdown for people, JSON for programs.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::figure::{Better, Measure, Section, number};

/// All sections as Markdown, the targets first.
#[must_use]
pub fn markdown(machine: &str, sections: &[Section]) -> String {
    let mut text = format!("{machine}\n\n");
    text += &targets(sections);
    for section in sections {
        text += &table(section);
    }
    text
}

/// What was promised and what came of it.
fn targets(sections: &[Section]) -> String {
    let measures: Vec<&Measure> = sections
        .iter()
        .flat_map(|section| &section.measures)
        .filter(|measure| measure.target.is_some())
        .collect();
    if measures.is_empty() {
        return String::new();
    }
    let mut text = "### Targets\n\n| what | target | measured | |\n|---|---|---|---|\n".to_owned();
    for measure in measures {
        let Measure { name, value, unit, better, target, .. } = measure;
        let sign = match better {
            Better::Less => "≤",
            Better::More => "≥",
        };
        let unit = unit.map_or(String::new(), |unit| format!(" {}", unit.label()));
        let target = number(target.unwrap_or_default());
        let met = if measure.is_met() == Some(true) { "met" } else { "**missed**" };
        let value = number(*value);
        // Writing to a string does not fail.
        let _ = writeln!(text, "| {name} | {sign} {target}{unit} | {value}{unit} | {met} |");
    }
    text.push('\n');
    text
}

/// A section's figures, a row for each thing that was done and a column for each who did it.
fn table(section: &Section) -> String {
    let mut text = format!("### {}\n\n", section.title);
    let (mut rows, mut columns) = (Vec::new(), Vec::new());
    for figure in &section.figures {
        if !rows.contains(&&figure.row) {
            rows.push(&figure.row);
        }
        if !columns.contains(&(figure.column, figure.unit)) {
            columns.push((figure.column, figure.unit));
        }
    }
    if !rows.is_empty() {
        let heads: Vec<String> = columns
            .iter()
            .map(|(column, unit)| format!("{column}, {}", unit.label()))
            .map(|head| head.trim_end_matches([',', ' ']).to_owned())
            .collect();
        let _ = writeln!(text, "| | {} |", heads.join(" | "));
        let _ = writeln!(text, "|---|{}", "---|".repeat(columns.len()));
        for row in rows {
            let cell = |(column, unit): &(&str, _)| {
                let mut figures = section.figures.iter();
                let found = figures.find(|figure| {
                    figure.row == *row && figure.column == *column && figure.unit == *unit
                });
                found.map_or(String::new(), |figure| figure.samples.to_string())
            };
            let cells: Vec<String> = columns.iter().map(cell).collect();
            let _ = writeln!(text, "| {row} | {} |", cells.join(" | "));
        }
        text.push('\n');
    }
    for note in &section.notes {
        let _ = writeln!(text, "- {note}");
    }
    if !section.notes.is_empty() {
        text.push('\n');
    }
    text
}

/// The same for programs.
#[must_use]
pub fn json(machine: &str, sections: &[Section]) -> Value {
    let sections: Vec<Value> = sections
        .iter()
        .map(|section| {
            let figures: Vec<Value> = section
                .figures
                .iter()
                .map(|figure| {
                    json!({
                        "row": figure.row,
                        "column": figure.column,
                        "unit": figure.unit.label(),
                        "median": figure.samples.median(),
                        "min": figure.samples.min(),
                        "max": figure.samples.max(),
                        "rounds": figure.samples.rounds(),
                    })
                })
                .collect();
            let measures: Vec<Value> = section.measures.iter().map(measure).collect();
            json!({
                "title": section.title,
                "figures": figures,
                "measures": measures,
                "notes": section.notes,
            })
        })
        .collect();
    json!({ "machine": machine, "sections": sections })
}

fn measure(measure: &Measure) -> Value {
    json!({
        "name": measure.name,
        "value": measure.value,
        "unit": measure.unit.map_or("", |unit| unit.label()),
        "better": match measure.better { Better::Less => "less", Better::More => "more" },
        "target": measure.target,
        "met": measure.is_met(),
        "guarded": measure.guarded,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::figure::Unit;

    fn sections() -> Vec<Section> {
        let mut section = Section::new("Datapath");
        section.add("TCP", "F1", Unit::NanosPerPacket, vec![10.0, 11.0, 12.0]);
        section.add("TCP", "lb", Unit::NanosPerPacket, vec![14.0]);
        section.add("UDP", "lb", Unit::NanosPerPacket, vec![15.0]);
        section.measures.push(Measure::ratio("TCP / F1", 1.3, Better::Less).target(1.5));
        section.measures.push(Measure::ratio("UDP / F1", 1.7, Better::Less).target(1.5));
        section.notes.push("net of the wrapper".to_owned());
        vec![section]
    }

    #[test]
    fn the_table_has_a_row_for_each_case_and_says_which_targets_are_met() {
        let text = markdown("a machine", &sections());
        for line in [
            "| TCP / F1 | ≤ 1.50 | 1.30 | met |",
            "| UDP / F1 | ≤ 1.50 | 1.70 | **missed** |",
            "| | F1, ns/packet | lb, ns/packet |",
            "| TCP | 11.0 (10.0 to 12.0) | 14.0 |",
            "| UDP |  | 15.0 |",
            "- net of the wrapper",
        ] {
            assert!(text.lines().any(|other| other == line), "{line}\n{text}");
        }
    }

    #[test]
    fn the_json_has_all_figures() {
        let value = json("a machine", &sections());
        let figure = &value["sections"][0]["figures"][0];
        assert_eq!(figure["median"], 11.0);
        assert_eq!(figure["rounds"], 3);
        assert_eq!(value["sections"][0]["measures"][1]["met"], false);
    }
}
