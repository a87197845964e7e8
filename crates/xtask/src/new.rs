//! `cargo xtask new exhibit SLUG`: the two files of an exhibit, which pass the whole suite as they
//! are.

use crate::process::Outcome;
use crate::tree::{self, Tree};

const RUST: &str = include_str!("new/exhibit.rs.txt");
const WORDS: &str = include_str!("new/exhibit.md.txt");

/// Writes both files; an error if one is there already.
pub fn run(tree: &Tree, arguments: &[String]) -> Outcome<()> {
    let [kind, slug] = arguments else {
        return Err("new needs two words: cargo xtask new exhibit SLUG".to_owned());
    };
    if kind != "exhibit" {
        return Err(format!(
            "new does not know `{kind}`: give cargo xtask new exhibit SLUG"
        ));
    }
    if !is_slug(slug) {
        return Err(format!(
            "`{slug}` cannot be a slug: give small letters, digits and _, beginning with a letter"
        ));
    }
    let title = title_of(slug);
    let fill = |text: &str| text.replace("{slug}", slug).replace("{title}", &title);
    let files = [
        (format!("crates/linearium/src/exhibits/{slug}.rs"), RUST),
        (format!("web/content/exhibits/{slug}.md"), WORDS),
    ];
    for (path, _) in &files {
        if tree.at(path).exists() {
            return Err(format!(
                "{path} is there already: choose another slug or remove it"
            ));
        }
    }
    for (path, text) in files {
        tree::write(&tree.at(&path), &fill(text))?;
        println!("{path}");
    }
    Ok(())
}

fn is_slug(slug: &str) -> bool {
    slug.starts_with(|c: char| c.is_ascii_lowercase())
        && slug
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

fn title_of(slug: &str) -> String {
    let words = slug.replace('_', " ");
    let mut letters = words.chars();
    letters
        .next()
        .map(|first| first.to_uppercase().chain(letters).collect())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_and_titles() {
        assert!(is_slug("l_mul") && is_slug("s4"));
        for wrong in ["", "L", "4s", "a-b", "../a", "ä"] {
            assert!(!is_slug(wrong), "{wrong}");
        }
        assert_eq!(title_of("top_vim"), "Top vim");
    }
}
