//! The 8-bit formats against `ml_dtypes`.

use crate::golden::Golden;
use linearium::formats::fp8::Fp8;

const FORMATS: [Fp8; 2] = [Fp8::E4M3, Fp8::E5M2];

fn same(a: f64, b: f64) -> bool {
    a.is_nan() && b.is_nan() || a.to_bits() == b.to_bits()
}

#[test]
fn every_byte_is_the_number_of_ml_dtypes() {
    for (format, golden) in FORMATS.into_iter().zip(Golden::first_cases(2, "fp8")) {
        let values = golden.exact("values");
        assert_eq!(values.len(), 256);
        for (byte, want) in values.into_iter().enumerate() {
            let got = f64::from(format.value(byte as u8));
            assert!(same(got, want), "{format:?} {byte:#x}: {got}, not {want}");
        }
    }
}

/// Ties, subnormals, zeros and their neighbours. Where `ml_dtypes` overflows to infinity or NaN ours
/// saturates, as its description says.
#[test]
fn rounding_is_that_of_ml_dtypes() {
    for (format, golden) in FORMATS.into_iter().zip(Golden::first_cases(2, "fp8")) {
        let mut overflows = 0;
        let (x, rounded) = (golden.input("x"), golden.exact("rounded"));
        assert!(x.len() > 8000 && x.len() == rounded.len());
        for (x, want) in x.into_iter().zip(rounded) {
            let want = if want.is_finite() {
                want
            } else {
                overflows += 1;
                assert!(x.abs() > format.largest(), "{format:?} {x}");
                f64::from(format.largest().copysign(x))
            };
            let got = f64::from(format.round(x));
            assert!(same(got, want), "{format:?} {x:e}: {got}, not {want}");
        }
        assert!(overflows > 8, "{format:?}: {overflows}");
    }
}
