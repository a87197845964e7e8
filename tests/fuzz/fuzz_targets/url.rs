//! Any text as the query of a URL: every value is possible and the state comes back from its own
//! query.
#![no_main]

use libfuzzer_sys::fuzz_target;
use linearium::settings::{PROPERTIES, Settings};

fuzz_target!(|query: &str| {
    let (settings, notices) = Settings::from_query(query);
    assert!(notices.len() <= 65, "{} notices", notices.len());
    for p in PROPERTIES {
        let value = settings.get(p.id);
        assert_eq!(p.check(value).as_deref(), Ok(value), "{}", p.id);
    }
    let (again, notices) = Settings::from_query(&settings.to_query());
    assert_eq!(again, settings);
    assert!(notices.is_empty(), "{notices:?}");
});
