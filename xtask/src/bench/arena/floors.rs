//! Floors: what each cell must reach, of `examples/arena/floors.tsv`, and whether it does.

use anyhow::{Context, Result, bail};

use super::score::Cell;

/// Most of 100 calls of a cell that may have a wrong parent, where the file says nothing.
const WRONG_MAX: f64 = 1.0;
/// 95 % quantiles of Student's t, one side, for two rounds and more; many rounds: 1.645.
const STUDENT: [f64; 9] = [6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833];

/// The file.
pub struct Floors(Vec<Row>);

struct Row {
    front: String,
    way: String,
    at_once: usize,
    floor: Floor,
}

/// What is asked of a cell, in % of its calls.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Floor {
    /// Right ones, at least; zero: nothing is known to be possible.
    pub right: f64,
    /// Wrong ones, at most.
    pub wrong: f64,
}

impl Floors {
    /// Reads the file: a line with the names of its columns, then one a cell. Lines that begin with `#`
    /// are remarks.
    pub fn read(text: &str) -> Result<Self> {
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).skip(1);
        let row = |line: &str| {
            let [front, way, at_once, right, wrong] = line.split('\t').collect::<Vec<_>>()[..]
            else {
                bail!("not five columns");
            };
            let floor = Floor { right: right.parse()?, wrong: wrong.parse()? };
            Ok(Row {
                front: front.to_owned(),
                way: way.to_owned(),
                at_once: at_once.parse()?,
                floor,
            })
        };
        lines
            .map(|line| row(line).with_context(|| format!("the floor '{line}'")))
            .collect::<Result<_>>()
            .map(Self)
    }

    /// The floor of a cell. Where there is none, wrong ones are bounded all the same.
    pub fn of(&self, front: &str, way: &str, at_once: usize) -> Floor {
        let is_it = |row: &&Row| row.front == front && row.way == way && row.at_once == at_once;
        let floor = self.0.iter().find(is_it).map(|row| row.floor);
        floor.unwrap_or(Floor { right: 0.0, wrong: WRONG_MAX })
    }
}

impl Floor {
    /// Whether the rounds of a cell hold it: of several rounds the side of the mean that is 95 % sure.
    pub fn holds(&self, rounds: &[Cell]) -> bool {
        let right: Vec<f64> = rounds.iter().map(Cell::right_share).collect();
        let wrong: Vec<f64> = rounds.iter().map(Cell::wrong_share).collect();
        let (right, wrong) = (mean(&right) - margin(&right), mean(&wrong) + margin(&wrong));
        !rounds.is_empty() && right >= self.right && wrong <= self.wrong
    }
}

impl std::fmt::Display for Floor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.right > 0.0 {
            write!(f, "≥{:.1} right, ", self.right)?;
        }
        write!(f, "≤{} wrong", self.wrong)
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// How far the true mean may be from that of `values`, one side, with 95 % certainty; nothing is known of
/// the spread of one value.
fn margin(values: &[f64]) -> f64 {
    let count = values.len();
    if count < 2 {
        return 0.0;
    }
    let mean = mean(values);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let student = STUDENT.get(count - 2).copied().unwrap_or(1.645);
    student * (squares / (count - 1) as f64 / count as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_read_and_names_fronts_that_there_are() {
        let floors = Floors::read(super::super::FLOORS).expect("the file of the project");
        assert!(floors.0.len() > 40);
        for row in &floors.0 {
            let front = super::super::FRONTS.iter().find(|front| front.name == row.front);
            let is_there = front.is_some_and(|front| front.ways.contains(&row.way.as_str()));
            assert!(
                is_there && super::super::AT_ONCE.contains(&row.at_once),
                "{} {}",
                row.front,
                row.way
            );
            assert!(row.floor.wrong <= WRONG_MAX && row.floor.right <= 100.0);
        }
        assert_eq!(floors.of("none", "", 1), Floor { right: 0.0, wrong: WRONG_MAX });
        assert!(Floors::read("front\nx\ty").is_err());
    }

    #[test]
    fn rounds_that_differ_must_be_better() {
        let floor = Floor { right: 98.0, wrong: 1.0 };
        for (rounds, holds) in [
            (&[][..], false),
            (&[(980, 10)], true),
            (&[(979, 0)], false),
            (&[(990, 11)], false),
            (&[(990, 0), (990, 0), (990, 0)], true),
            // 98.7 on average, and nobody knows whether that was luck.
            (&[(1000, 0), (1000, 0), (960, 0)], false),
        ] {
            let cells: Vec<Cell> =
                rounds.iter().map(|(right, wrong)| Cell::of(1000, *right, *wrong)).collect();
            assert_eq!(floor.holds(&cells), holds, "{rounds:?}");
        }
    }
}
