//! The figures: a table for people, JSON for programs.

use std::{fs, path::PathBuf};

use serde_json::{Value, json};

use crate::variable;

/// Figures in the order in which they were measured.
#[derive(Default)]
pub struct Figures(Vec<Value>);

impl Figures {
    /// Adds a figure: what it is, its value with its unit, and what it is to be held against.
    pub fn add(&mut self, what: &str, value: f64, unit: &str, goal: &str) {
        println!("{what:<66} {value:>10.2} {unit:<6} {goal}");
        self.0.push(json!({"what": what, "value": value, "unit": unit, "goal": goal}));
    }

    /// Writes the JSON.
    pub fn finish(self, name: &str) {
        let file = PathBuf::from(variable("FATEH_BENCH")).join(format!("{name}.json"));
        let text = format!("{:#}\n", json!(self.0));
        let written = file.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&file, text));
        assert!(written.is_ok(), "write {}: {written:?}", file.display());
    }
}

/// The value that so many hundredths of the values lie under.
#[must_use]
pub fn percentile(values: &[f64], hundredths: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[(sorted.len() * hundredths / 100).min(sorted.len() - 1)]
}
