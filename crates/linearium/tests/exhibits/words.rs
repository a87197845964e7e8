//! The words of every exhibit, `web/content/exhibits/<slug>.md`.

use linearium::exhibits::ALL;
use linearium::settings::Settings;

const WORDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../web/content/exhibits");
/// Sections that every page has, in this order.
const SECTIONS: [&str; 5] = [
    "Idea",
    "Equations",
    "What to try",
    "Paper and measurement",
    "References",
];

/// What stands between `start` and `end`, every time.
fn between<'a>(text: &'a str, start: &str, end: &str) -> Vec<&'a str> {
    text.split(start)
        .skip(1)
        .map(|rest| rest.split(end).next().unwrap_or_default())
        .collect()
}

pub fn words_name_every_control_and_symbol() {
    for e in ALL {
        let file = format!("{WORDS}/{}.md", e.slug);
        let text = std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{file}: {e}"));
        let title = text.lines().next().unwrap_or_default();
        assert_eq!(title, format!("# {}", e.title), "{file}");
        let sections: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("## "))
            .collect();
        assert_eq!(sections, SECTIONS, "{file}");
        let symbols = between(&text, r"\sym{", "}");
        for s in e.symbols {
            assert!(symbols.contains(&s.id), "{file} has no \\sym{{{}}}", s.id);
        }
        for s in &symbols {
            let known = e.symbols.iter().any(|known| known.id == *s);
            assert!(known, "{file}: {s} is no symbol of the exhibit");
        }
        let links = between(&text, "](?", ")");
        let mut named: Vec<&str> = e.symbols.iter().map(|s| s.control).collect();
        for link in &links {
            let (_, notices) = Settings::read(e.controls, link);
            assert!(notices.is_empty(), "{file}: ?{link}: {notices:?}");
            named.extend(link.split('&').filter_map(|part| part.split('=').next()));
        }
        for p in e.controls {
            assert!(
                named.contains(&p.id),
                "{file} says nothing about the control {}: link to it as [words](?{}=value)",
                p.id,
                p.id
            );
        }
    }
}
