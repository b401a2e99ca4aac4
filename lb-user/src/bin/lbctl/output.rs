//! Printing: tables for people, JSON and YAML as the API has it.

use std::{fmt::Display, io::Write};

use comfy_table::{Table, presets};
use lb_user::api::types::Done;
use serde::Serialize;

use crate::Failure;

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// As the API answers.
    Json,
    /// The same as YAML.
    Yaml,
}

/// Where and how to print.
pub(crate) struct Output<'a> {
    format: Format,
    stdout: &'a mut dyn Write,
}

impl<'a> Output<'a> {
    pub(crate) fn new(format: Format, stdout: &'a mut dyn Write) -> Self {
        Self { format, stdout }
    }

    /// Prints a value: through `table` for people, else as it is.
    pub(crate) fn print<T: Serialize>(
        &mut self,
        value: &T,
        table: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        let text = match self.format {
            Format::Table => table(value),
            Format::Json => serde_json::to_string_pretty(value)
                .map_err(|error| Failure::Output(error.into()))?,
            Format::Yaml => serde_saphyr::to_string(value)
                .map_err(|error| Failure::Output(std::io::Error::other(error.to_string())))?,
        };
        writeln!(self.stdout, "{}", text.trim_end())?;
        self.stdout.flush()?;
        Ok(())
    }

    /// Prints what a change did.
    pub(crate) fn done(&mut self, done: &Done) -> Result<(), Failure> {
        self.print(done, |done| done.message.clone())
    }
}

/// A table without lines.
pub(crate) fn table<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

/// A value, or a dash.
pub(crate) fn or_dash(value: Option<impl Display>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}
