//! How answers are shown: a table for people, JSON and YAML for programs.

use std::{
    fmt::{self, Display},
    io::Write,
};

use comfy_table::{ContentArrangement, Table as Grid, presets};
use serde::Serialize;

use crate::cluster::Failure;

/// How an answer is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
    /// For programs, and people who like it.
    Yaml,
}

impl Format {
    /// Prints an answer; for people as it displays itself, lines and all.
    ///
    /// # Errors
    /// When nobody takes it.
    pub fn print(self, answer: &(impl Serialize + Display)) -> Result<(), Failure> {
        let text = match self {
            Self::Table => answer.to_string(),
            Self::Json => serde_json::to_string_pretty(answer).map_err(std::io::Error::other)? + "\n",
            Self::Yaml => serde_yaml::to_string(answer).map_err(std::io::Error::other)?,
        };
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes())?;
        Ok(out.flush()?)
    }
}

/// Columns under their names, as kubectl shows them.
pub struct Table(Grid);

impl Table {
    /// A table without rows.
    pub fn new(columns: &[&str]) -> Self {
        let mut grid = Grid::new();
        grid.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        grid.set_header(columns.iter().copied());
        for column in grid.column_iter_mut() {
            column.set_padding((0, 3));
        }
        Self(grid)
    }

    /// Adds a row; what is empty is shown as `-`.
    pub fn row(&mut self, cells: &[&str]) {
        // What others wrote must not break the table, nor speak to the terminal.
        let shown = |cell: &&str| match *cell {
            "" => "-".to_owned(),
            cell => cell.chars().map(|c| if c.is_control() { ' ' } else { c }).collect(),
        };
        self.0.add_row(cells.iter().map(shown));
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.lines().try_for_each(|line| writeln!(f, "{}", line.trim_end()))
    }
}

/// How long ago something was, as kubectl writes it: 45s, 12m, 3h, 5d.
pub fn age(seconds: i64) -> String {
    match seconds.max(0) {
        seconds @ ..120 => format!("{seconds}s"),
        seconds @ ..7200 => format!("{}m", seconds / 60),
        seconds @ ..172_800 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

/// A count with the noun that it counts.
pub fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_aligned_also_with_arabic_and_shows_no_control_characters() {
        let mut table = Table::new(&["NODE", "NAME"]);
        table.row(&["riyadh", "مدرسة الرياض"]);
        table.row(&["x", ""]);
        table.row(&["evil", "a\u{1b}[31m\nb"]);
        assert_eq!(table.to_string(), "NODE     NAME\nriyadh   مدرسة الرياض\nx        -\nevil     a [31m b\n");
    }

    #[test]
    fn ages_are_short() {
        let ages = [-5, 0, 119, 120, 7199, 7200, 172_799, 172_800].map(age);
        assert_eq!(ages, ["0s", "0s", "119s", "2m", "119m", "2h", "47h", "2d"]);
    }
}
