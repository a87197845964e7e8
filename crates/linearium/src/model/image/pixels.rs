//! Pictures as grey values, and how one of any size becomes the square that a model reads.

/// The most pixels of a picture that is read: 8,192 by 8,192.
pub const MAX_PIXELS: usize = 1 << 26;

/// Grey values, row by row from the top left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grey {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

/// Checks that a picture of this size has this many values a pixel and can be read.
fn checked(width: usize, height: usize, values: usize, a_pixel: usize) -> Result<(), String> {
    if width == 0 || height == 0 {
        return Err(format!(
            "the image is {width} by {height} pixels: choose one of at least one pixel"
        ));
    }
    let pixels = width.checked_mul(height).filter(|&n| n <= MAX_PIXELS);
    let Some(pixels) = pixels else {
        return Err(format!(
            "the image is {width} by {height} pixels where at most {MAX_PIXELS} in all are read: make it smaller"
        ));
    };
    if Some(values) != pixels.checked_mul(a_pixel) {
        return Err(format!(
            "an image of {width} by {height} pixels has {a_pixel} values a pixel, not {values} in all: decode it again"
        ));
    }
    Ok(())
}

impl Grey {
    /// Grey values as they are.
    ///
    /// # Errors
    /// A sentence if the picture is empty or too large, or the number of values is another one.
    pub fn new(width: usize, height: usize, pixels: Vec<u8>) -> Result<Grey, String> {
        checked(width, height, pixels.len(), 1)?;
        Ok(Grey {
            width,
            height,
            pixels,
        })
    }

    /// Red, green, blue and alpha (not premultiplied), 4 bytes a pixel: luma of ITU-R BT.601,
    /// `(299 R + 587 G + 114 B) / 1000`, over black.
    ///
    /// # Errors
    /// As [`Grey::new`].
    pub fn from_rgba(width: usize, height: usize, rgba: &[u8]) -> Result<Grey, String> {
        checked(width, height, rgba.len(), 4)?;
        let grey = |p: &[u8]| {
            let [r, g, b, a] = [0, 1, 2, 3].map(|i| u32::from(p[i]));
            let luma = (299 * r + 587 * g + 114 * b) * a;
            ((luma + 127_500) / 255_000) as u8
        };
        Ok(Grey {
            width,
            height,
            pixels: rgba.chunks_exact(4).map(grey).collect(),
        })
    }

    /// Columns.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// The values.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// The largest square in the middle, brought to `side` pixels: each new pixel is the mean of the
    /// area that it covers, rounded. A picture that has this size already stays as it is; one pixel
    /// becomes one level everywhere.
    pub fn square(&self, side: usize) -> Grey {
        let from = self.width.min(self.height);
        let (left, top) = ((self.width - from) / 2, (self.height - from) / 2);
        // In units in which a new pixel is `from` long and an old one `side`.
        let covered = |to: usize| {
            let (start, end) = (to * from, (to + 1) * from);
            (start / side..end.div_ceil(side)).map(move |i| {
                let overlap = end.min((i + 1) * side) - start.max(i * side);
                (i, overlap as u64)
            })
        };
        let area = (from * from) as u64;
        let mut pixels = Vec::with_capacity(side * side);
        for y in 0..side {
            for x in 0..side {
                let mut sum = 0;
                for (row, high) in covered(y) {
                    let row = &self.pixels[(top + row) * self.width + left..];
                    let line: u64 = covered(x).map(|(c, wide)| wide * u64::from(row[c])).sum();
                    sum += high * line;
                }
                pixels.push(((sum + area / 2) / area) as u8);
            }
        }
        Grey {
            width: side,
            height: side,
            pixels,
        }
    }
}
