//! The table that a bench prints: what, figure, aim, and whether it holds.

/// An aim for a figure.
#[derive(Clone, Copy)]
pub enum Aim {
    /// At least so much.
    AtLeast(f64),
    /// At most so much.
    AtMost(f64),
    /// Less than so much.
    Below(f64),
    /// None: the figure is for the reader.
    None,
}

struct Row {
    what: String,
    figure: String,
    aim: String,
    holds: Option<bool>,
}

/// Rows in the order in which they were measured, and remarks below them.
#[derive(Default)]
pub struct Table {
    rows: Vec<Row>,
    notes: Vec<String>,
}

impl Table {
    /// A figure, its unit, and its aim.
    pub fn figure(&mut self, what: impl Into<String>, value: f64, unit: &str, aim: Aim) {
        let holds = match aim {
            Aim::AtLeast(least) => Some(value >= least),
            Aim::AtMost(most) => Some(value <= most),
            Aim::Below(bound) => Some(value < bound),
            Aim::None => None,
        };
        self.row(what, number(value, unit), aim, unit, holds);
    }

    /// A figure that was measured but must not be believed, with the reason in a remark.
    pub fn invalid(&mut self, what: impl Into<String>, value: f64, unit: &str, aim: Aim) {
        self.row(what, format!("{} (invalid)", number(value, unit)), aim, unit, Some(false));
    }

    /// A text instead of a figure, that holds or does not.
    pub fn text(
        &mut self,
        what: impl Into<String>,
        text: impl Into<String>,
        aim: &str,
        holds: bool,
    ) {
        let (what, figure, aim) = (what.into(), text.into(), aim.to_owned());
        self.rows.push(Row { what, figure, aim, holds: Some(holds) });
    }

    /// What could not be measured, and why; an aim that nobody looked at is not met.
    pub fn missing(&mut self, what: &str, why: &anyhow::Error) {
        self.text(what, "not measured", "", false);
        self.notes.push(format!("{what}: {why:#}"));
    }

    /// A remark.
    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// Whether every aim is met.
    pub fn holds(&self) -> bool {
        self.rows.iter().all(|row| row.holds != Some(false))
    }

    /// Prints it with what the host was doing.
    pub fn print(&self, name: &str, host: &str) {
        if self.rows.is_empty() && self.notes.is_empty() {
            // The bench has a form of its own.
            return;
        }
        println!("\nbench {name} ({host})");
        let width = self.rows.iter().map(|row| row.what.len()).max().unwrap_or(0);
        println!("{:<width$} {:>22} {:>14}  holds", "", "figure", "aim");
        for row in &self.rows {
            let holds = row.holds.map_or("", |holds| if holds { "yes" } else { "NO" });
            println!("{:<width$} {:>22} {:>14}  {holds}", row.what, row.figure, row.aim);
        }
        for note in &self.notes {
            println!("  {note}");
        }
    }

    fn row(
        &mut self,
        what: impl Into<String>,
        figure: String,
        aim: Aim,
        unit: &str,
        holds: Option<bool>,
    ) {
        let aim = match aim {
            Aim::AtLeast(least) => format!(">= {}", number(least, unit)),
            Aim::AtMost(most) => format!("<= {}", number(most, unit)),
            Aim::Below(bound) => format!("< {}", number(bound, unit)),
            Aim::None => String::new(),
        };
        self.rows.push(Row { what: what.into(), figure, aim, holds });
    }
}

/// As many decimals as say something.
fn number(value: f64, unit: &str) -> String {
    let decimals = match value.abs() {
        v if v >= 1_000.0 => 0,
        v if v >= 10.0 => 1,
        _ => 2,
    };
    let space = if unit.is_empty() { "" } else { " " };
    format!("{value:.decimals$}{space}{unit}")
}

/// The middle value; of an even number of them the lower one. Zero of none.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_aim_holds_or_not() {
        for (value, aim, holds) in [
            (0.85, Aim::AtLeast(0.85), true),
            (0.849, Aim::AtLeast(0.85), false),
            (1.3, Aim::AtMost(1.3), true),
            (1.31, Aim::AtMost(1.3), false),
            (1.0, Aim::Below(1.0), false),
            (f64::NAN, Aim::AtMost(1.0), false),
            (1e9, Aim::None, true),
        ] {
            let mut table = Table::default();
            table.figure("", value, "", aim);
            assert_eq!(table.holds(), holds, "{value}");
        }
    }

    #[test]
    fn the_median_is_a_value_that_was_measured() {
        for (values, middle) in
            [(&[][..], 0.0), (&[3.0], 3.0), (&[9.0, 1.0], 1.0), (&[5.0, 1.0, 3.0], 3.0)]
        {
            assert_eq!(median(values.iter().copied()), middle);
        }
    }
}
