//! Orders in which the tokens of a picture are read: permutations of a grid. Each file is one, or a
//! way to make one from another; a backbone names those that its scans follow.

pub mod column;
pub mod cross;
pub mod hilbert;
pub mod raster;
pub mod snake;

/// Rows and columns of a picture in tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Rows H.
    pub height: usize,
    /// Columns W.
    pub width: usize,
}

impl Grid {
    /// Tokens T = H W.
    pub fn tokens(self) -> usize {
        self.height * self.width
    }

    /// Token `row * W + column`.
    pub fn token(self, row: usize, column: usize) -> usize {
        row * self.width + column
    }

    /// Row and column of a token.
    pub fn place(self, token: usize) -> (usize, usize) {
        (token / self.width, token % self.width)
    }

    /// Rows and columns exchanged.
    pub fn transposed(self) -> Grid {
        Grid {
            height: self.width,
            width: self.height,
        }
    }
}

/// A permutation of T tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    tokens: Vec<usize>,
    places: Vec<usize>,
}

impl Order {
    /// From the token that is read at each place.
    ///
    /// # Errors
    /// A sentence if a token is missing or comes twice.
    pub fn new(tokens: Vec<usize>) -> Result<Order, String> {
        let mut places = vec![usize::MAX; tokens.len()];
        for (place, &token) in tokens.iter().enumerate() {
            match places.get_mut(token) {
                Some(seen) if *seen == usize::MAX => *seen = place,
                Some(_) => return Err(format!("an order reads token {token} twice")),
                None => {
                    return Err(format!(
                        "an order of {} tokens cannot read token {token}",
                        tokens.len()
                    ));
                }
            }
        }
        Ok(Order { tokens, places })
    }

    /// The token that is read at each place.
    pub fn tokens(&self) -> &[usize] {
        &self.tokens
    }

    /// The place at which each token is read: the inverse.
    pub fn places(&self) -> &[usize] {
        &self.places
    }

    /// The same from its end.
    pub fn reversed(mut self) -> Order {
        self.tokens.reverse();
        let last = self.places.len().saturating_sub(1);
        self.places
            .iter_mut()
            .for_each(|place| *place = last - *place);
        self
    }

    /// The same for a sequence with one more token at `at`, which is read at the place of its number:
    /// the class token of ViM.
    pub fn with_class_token(&self, at: usize) -> Order {
        let after = |i: usize| i + usize::from(i >= at);
        let mut tokens: Vec<usize> = self.tokens.iter().map(|&t| after(t)).collect();
        tokens.insert(at, at);
        let mut places: Vec<usize> = self.places.iter().map(|&p| after(p)).collect();
        places.insert(at, at);
        Order { tokens, places }
    }

    /// The order restricted to some tokens: for each place the index in `kept` of the token that is
    /// read there, and how many others would have been read right before it.
    pub fn restricted(&self, kept: &[usize]) -> (Vec<usize>, Vec<usize>) {
        let mut read: Vec<usize> = (0..kept.len()).collect();
        read.sort_by_key(|&i| self.places[kept[i]]);
        let places: Vec<usize> = read.iter().map(|&i| self.places[kept[i]]).collect();
        (read, crate::pruning::selection::gaps(&places))
    }
}

/// Gives the tokens of a grid as an order reads them.
type Tokens = fn(Grid) -> Vec<usize>;

/// The orders by name; each can be read from its end, as `<name>-reversed`.
pub const ALL: [(&str, Tokens); 5] = [
    ("raster", raster::tokens),
    ("column", column::tokens),
    ("snake", snake::tokens),
    ("column-snake", snake::column_tokens),
    ("hilbert", hilbert::tokens),
];

/// Behind the name of an order that is read from its end.
const REVERSED: &str = "-reversed";

/// The order of this name on a grid; with a class token among its tokens where `class_token` says
/// at which number, at most T.
///
/// # Errors
/// A sentence with the names that there are.
pub fn by_name(name: &str, grid: Grid, class_token: Option<usize>) -> Result<Order, String> {
    let base = name.strip_suffix(REVERSED).unwrap_or(name);
    let Some((_, tokens)) = ALL.iter().find(|(known, _)| *known == base) else {
        let names = ALL.map(|(name, _)| name).join(", ");
        return Err(format!(
            "there is no scan order “{name}”: choose one of {names}, or one of them with {REVERSED} behind it"
        ));
    };
    let mut order = Order::new(tokens(grid))?;
    if let Some(at) = class_token {
        order = order.with_class_token(at);
    }
    Ok(if base == name {
        order
    } else {
        order.reversed()
    })
}
