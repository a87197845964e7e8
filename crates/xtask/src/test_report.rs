//! How many tests ran and how they ended, read from what the test programs say.

use serde_json::Value;
use std::fmt;
use std::iter::Sum;
use std::ops::Add;

/// Tests by how they ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Tests that ran and passed.
    pub passed: u64,
    /// Tests that ran and failed.
    pub failed: u64,
    /// Tests that there are but did not run.
    pub skipped: u64,
}

impl Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
            skipped: self.skipped + other.skipped,
        }
    }
}

impl Sum for Counts {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), Add::add)
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} passed, {} failed", self.passed, self.failed)?;
        if self.skipped > 0 {
            write!(out, ", {} skipped", self.skipped)?;
        }
        Ok(())
    }
}

/// Sums the `test result:` lines that Rust's test harness and wasm-bindgen's write, one for each test program.
pub fn rust(output: &str) -> Counts {
    output.lines().filter_map(rust_line).sum()
}

fn rust_line(line: &str) -> Option<Counts> {
    let (_, numbers) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let mut counts = Counts::default();
    for part in numbers.split(';') {
        let mut words = part.split_whitespace();
        let (Some(number), Some(kind)) = (words.next(), words.next()) else {
            continue;
        };
        let sort = match kind {
            "passed" => &mut counts.passed,
            "failed" => &mut counts.failed,
            "ignored" => &mut counts.skipped,
            _ => continue,
        };
        *sort = number.parse().ok()?;
    }
    Some(counts)
}

/// Reads the statistics of Playwright's JSON report; a test that passed on a second try only counts as failed.
pub fn playwright(report: &str) -> Option<Counts> {
    let report: Value = serde_json::from_str(report).ok()?;
    let number = |name: &str| report["stats"][name].as_u64();
    // An error outside any test, such as a file that does not load, is listed apart from the tests.
    let outside = report["errors"]
        .as_array()
        .map_or(0, |errors| errors.len() as u64);
    Some(Counts {
        passed: number("expected")?,
        failed: number("unexpected")? + number("flaky")? + outside,
        skipped: number("skipped")?,
    })
}

/// Reads the closing line of pytest: `2 failed, 5 passed, 1 error in 0.12s`.
pub fn pytest(output: &str) -> Option<Counts> {
    let line = output.lines().rev().find(|line| line.contains(" in "))?;
    let (numbers, _) = line.trim_matches(['=', ' ']).rsplit_once(" in ")?;
    let mut counts = Counts::default();
    if numbers == "no tests ran" {
        return Some(counts);
    }
    for part in numbers.split(", ") {
        let (number, kind) = part.split_once(' ')?;
        let number: u64 = number.parse().ok()?;
        match kind {
            "passed" => counts.passed += number,
            "failed" | "error" | "errors" | "xpassed" => counts.failed += number,
            // A test that is expected to fail proves no more than one that did not run.
            "skipped" | "xfailed" => counts.skipped += number,
            "warning" | "warnings" | "deselected" => {}
            _ => return None,
        }
    }
    Some(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closing_line_of_pytest_counts_every_kind() {
        let counts = |passed, failed, skipped| Counts {
            passed,
            failed,
            skipped,
        };
        let told =
            "..F\n2 failed, 5 passed, 1 skipped, 3 deselected, 1 warning, 1 error in 0.12s\n";
        assert_eq!(pytest(told), Some(counts(5, 3, 1)));
        assert_eq!(
            pytest("===== 7 passed in 1.20s =====\n"),
            Some(counts(7, 0, 0))
        );
        assert_eq!(pytest("no tests ran in 0.01s\n"), Some(Counts::default()));
        assert_eq!(pytest("Traceback (most recent call last):\n"), None);
    }

    #[test]
    fn every_test_program_is_counted() {
        let output = "\
running 3 tests
test a ... ok
test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s
test result: FAILED. 5 passed; 2 failed; 0 ignored; 0 measured; 7 filtered out; finished in 1.20s
test result: ok. 4 passed; 0 failed; 0 ignored; 0 filtered out; finished in 0.02s
";
        let expected = Counts {
            passed: 12,
            failed: 2,
            skipped: 1,
        };
        assert_eq!(rust(output), expected);
    }

    #[test]
    fn what_only_mentions_a_result_is_not_counted() {
        assert_eq!(
            rust("the line `test result: ok. 3 passed; 0 failed;` ends a run\n"),
            Counts::default()
        );
        assert_eq!(rust("test result: many passed\n"), Counts::default());
    }

    #[test]
    fn a_browser_test_that_needed_two_tries_is_a_failure() {
        let report = r#"{"errors":[],"stats":{"expected":8,"unexpected":1,"flaky":2,"skipped":3}}"#;
        assert_eq!(
            playwright(report),
            Some(Counts {
                passed: 8,
                failed: 3,
                skipped: 3
            })
        );
    }

    #[test]
    fn an_error_outside_the_browser_tests_is_a_failure() {
        let report = r#"{"errors":[{"message":"x"}],"stats":{"expected":0,"unexpected":0,"flaky":0,"skipped":0}}"#;
        assert_eq!(
            playwright(report),
            Some(Counts {
                failed: 1,
                ..Counts::default()
            })
        );
    }

    #[test]
    fn a_report_without_its_numbers_is_no_report() {
        assert_eq!(playwright("{}"), None);
        assert_eq!(playwright(""), None);
        assert_eq!(playwright(r#"{"stats":{"expected":8}}"#), None);
    }

    #[test]
    fn counts_read_as_the_closing_line() {
        let counts = Counts {
            passed: 4,
            failed: 0,
            skipped: 0,
        };
        assert_eq!(counts.to_string(), "4 passed, 0 failed");
        assert_eq!(
            Counts {
                skipped: 2,
                ..counts
            }
            .to_string(),
            "4 passed, 0 failed, 2 skipped"
        );
    }
}
