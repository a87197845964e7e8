//! Whether an SPDX licence expression can be met with licences from a list.

/// What the page and the command line may be made of: licences that ask for no more than a notice.
pub const SHIPPED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// What tools that never ship may have besides: licences that bind only who passes the tool on.
pub const TOOLS: &[&str] = &["BlueOak-1.0.0", "CC-BY-4.0", "MPL-2.0", "Python-2.0"];

/// Whether `expression` holds when exactly the licences for which `allowed` is true may be used.
///
/// Understands `AND`, `OR`, `WITH`, parentheses and the old `/` for `OR`; `None` when it is no such expression.
pub fn is_met(expression: &str, allowed: &dyn Fn(&str) -> bool) -> Option<bool> {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut reader = Reader {
        words: &words,
        allowed,
    };
    let met = reader.any()?;
    reader.words.is_empty().then_some(met)
}

struct Reader<'a> {
    words: &'a [&'a str],
    allowed: &'a dyn Fn(&str) -> bool,
}

impl<'a> Reader<'a> {
    fn take(&mut self) -> Option<&'a str> {
        let (first, rest) = self.words.split_first()?;
        self.words = rest;
        Some(first)
    }

    fn take_if(&mut self, word: &str) -> bool {
        let found = self.words.first() == Some(&word);
        if found {
            self.words = &self.words[1..];
        }
        found
    }

    fn any(&mut self) -> Option<bool> {
        let mut met = self.all()?;
        while self.take_if("OR") {
            met |= self.all()?;
        }
        Some(met)
    }

    fn all(&mut self) -> Option<bool> {
        let mut met = self.one()?;
        while self.take_if("AND") {
            met &= self.one()?;
        }
        Some(met)
    }

    fn one(&mut self) -> Option<bool> {
        if self.take_if("(") {
            let met = self.any()?;
            return self.take_if(")").then_some(met);
        }
        let name = self
            .take()
            .filter(|word| !["AND", "OR", "WITH", ")"].contains(word))?;
        if self.take_if("WITH") {
            let exception = self.take()?;
            return Some((self.allowed)(&format!("{name} WITH {exception}")));
        }
        Some((self.allowed)(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shipped(expression: &str) -> Option<bool> {
        is_met(expression, &|name| SHIPPED.contains(&name))
    }

    #[test]
    fn one_allowed_side_of_or_is_enough_and_both_of_and_are_needed() {
        assert_eq!(shipped("MIT"), Some(true));
        assert_eq!(shipped("GPL-3.0-only"), Some(false));
        assert_eq!(shipped("GPL-3.0-only OR MIT"), Some(true));
        assert_eq!(shipped("MIT AND GPL-3.0-only"), Some(false));
        assert_eq!(shipped("MIT/Apache-2.0"), Some(true));
        assert_eq!(shipped("GPL-2.0/LGPL-2.1"), Some(false));
    }

    #[test]
    fn and_binds_tighter_than_or_and_parentheses_tighter_still() {
        assert_eq!(shipped("MIT OR MIT AND GPL-3.0-only"), Some(true));
        assert_eq!(shipped("(MIT OR Apache-2.0) AND GPL-3.0-only"), Some(false));
        assert_eq!(shipped("(MIT OR Apache-2.0) AND Unicode-3.0"), Some(true));
    }

    #[test]
    fn an_exception_belongs_to_its_licence() {
        assert_eq!(shipped("Apache-2.0 WITH LLVM-exception"), Some(true));
        assert_eq!(
            shipped("GPL-3.0-only WITH Classpath-exception-2.0"),
            Some(false)
        );
        assert_eq!(shipped("MIT WITH Classpath-exception-2.0"), Some(false));
    }

    #[test]
    fn what_is_no_expression_is_told_apart() {
        for wrong in [
            "",
            "MIT OR",
            "OR MIT",
            "(MIT",
            "MIT)",
            "MIT Apache-2.0",
            "AND",
            "MIT WITH",
        ] {
            assert_eq!(shipped(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_tool_licence_does_not_ship() {
        assert_eq!(shipped("MPL-2.0"), Some(false));
        assert!(TOOLS.iter().all(|name| !SHIPPED.contains(name)));
    }
}
