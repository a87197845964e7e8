//! Short forms of what exhibits declare and draw.

use super::Symbol;
use crate::settings::{Choice, Kind, Property};
use crate::views::{Cell, Mark, Series, Table};

/// A control.
pub const fn control(
    id: &'static str,
    label: &'static str,
    group: &'static str,
    kind: Kind,
    default: &'static str,
    help: &'static str,
) -> Property {
    Property {
        id,
        label,
        group,
        kind,
        default,
        unit: "",
        help,
        comparable: false,
        when: &[],
        suggest: "",
    }
}

/// A control that one of these choices decides.
pub const fn one_of(choices: &'static [Choice]) -> Kind {
    Kind::Choice { choices }
}

/// Whole numbers; `log` makes equal ratios equal steps of the slider.
pub const fn whole(min: i64, max: i64, log: bool) -> Kind {
    Kind::Integer { min, max, log }
}

/// Numbers.
pub const fn number(min: f64, max: f64, log: bool) -> Kind {
    Kind::Number { min, max, log }
}

/// A symbol without a unit.
pub const fn symbol(
    id: &'static str,
    letter: &'static str,
    meaning: &'static str,
    control: &'static str,
) -> Symbol {
    measured(id, letter, meaning, "", control)
}

/// A symbol with a unit.
pub const fn measured(
    id: &'static str,
    letter: &'static str,
    meaning: &'static str,
    unit: &'static str,
    control: &'static str,
) -> Symbol {
    Symbol {
        id,
        letter,
        meaning,
        unit,
        control,
    }
}

/// A curve through points.
pub fn curve(label: &str, points: impl IntoIterator<Item = (f64, f64)>, strong: bool) -> Series {
    let points = points.into_iter().map(|(x, y)| (x as f32, y as f32));
    let (x, y) = points.unzip();
    Series {
        label: label.to_owned(),
        run: "a".to_owned(),
        x,
        y,
        emphasis: strong,
    }
}

/// A vertical line.
pub fn at_x(value: f64, label: &str) -> Mark {
    Mark {
        vertical: true,
        value,
        label: label.to_owned(),
    }
}

/// A horizontal line.
pub fn at_y(value: f64, label: &str) -> Mark {
    Mark {
        vertical: false,
        ..at_x(value, label)
    }
}

/// A table from column heads and rows.
pub fn table(columns: &[&str], rows: Vec<Vec<Cell>>) -> Table {
    Table {
        columns: columns.iter().map(|&c| c.to_owned()).collect(),
        rows,
    }
}

/// A cell of words.
pub fn word(text: impl Into<String>) -> Cell {
    Cell::Text(text.into())
}
