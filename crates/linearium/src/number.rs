//! Numbers in sentences.

/// A number with the digits that matter to a reader: 1234, 12.3, 0.123, 1.2e-5, unlimited.
pub fn short(x: f64) -> String {
    if x.is_infinite() {
        return "unlimited".to_owned();
    }
    let round = |digits: f64| (x * digits).round() / digits;
    match x.abs() {
        100.0.. => round(1.0).to_string(),
        1.0..100.0 => round(10.0).to_string(),
        0.001..1.0 => round(1000.0).to_string(),
        size if size > 0.0 => {
            let (mut mantissa, mut exponent) = (x, 0);
            // Rounding to one place must not give 10.
            while mantissa.abs() < 0.995 && exponent > -400 {
                mantissa *= 10.0;
                exponent -= 1;
            }
            format!("{}e{exponent}", (mantissa * 10.0).round() / 10.0)
        }
        _ => x.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::short;

    #[test]
    fn digits_that_matter() {
        let cases = [
            (0.0, "0"),
            (1234.4, "1234"),
            (-99.96, "-100"),
            (12.34, "12.3"),
            (0.12345, "0.123"),
            (0.0009996, "1e-3"),
            (0.0000123, "1.2e-5"),
            (-4.56e-7, "-4.6e-7"),
            (9.99e-10, "1e-9"),
            (f64::INFINITY, "unlimited"),
        ];
        for (x, want) in cases {
            assert_eq!(short(x), want, "{x:e}");
        }
        assert_eq!(short(f64::NAN), "NaN");
        // Every power of ten keeps its size.
        for e in -300..300 {
            let x = 3.0 * 10f64.powi(e);
            let back: f64 = short(x).parse().unwrap();
            assert!((back / x - 1.0).abs() < 1e-9, "{x:e} {}", short(x));
        }
    }
}
