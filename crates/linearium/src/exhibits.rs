//! The exhibits. Each file in this folder is one; the build puts it here and into [`ALL`].

use crate::exhibit::Exhibit;

include!(concat!(env!("OUT_DIR"), "/exhibits.rs"));

/// The exhibit with this slug.
///
/// # Errors
/// One sentence that names those that there are.
pub fn known(slug: &str) -> Result<&'static Exhibit, String> {
    ALL.iter().copied().find(|e| e.slug == slug).ok_or_else(|| {
        let slugs: Vec<&str> = ALL.iter().map(|e| e.slug).collect();
        format!(
            "there is no exhibit “{slug}”: give one of {}",
            slugs.join(", ")
        )
    })
}
