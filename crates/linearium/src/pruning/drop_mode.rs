//! What dropping a token means to a recurrence, and to the convolution before it.

/// What a dropped token p does to the state `h_t = a_t h_{t-1} + b_t` (q is the last kept token
/// before it).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropMode {
    /// Its residual stream is set to 0 in the layer that drops it, and everything goes on as if it
    /// were there: no work is saved.
    Mask,
    /// It is not there: the recurrence runs over the kept tokens alone.
    Gather,
    /// `h_p = h_{p-1}`. In one direction the same numbers as [`DropMode::Gather`] gives.
    Hold,
    /// `h_p = a_p h_{p-1}`, with the decay that it would have had.
    DecayTrue,
    /// `h_p = a_0 h_{p-1}`, with the decay that a token of zeros has.
    DecayDefault,
    /// `h_p = a_q h_{p-1} + b_q`: it is taken for a copy of the last kept token (zero-order hold).
    Carry,
}

impl DropMode {
    /// All of them.
    pub const ALL: [DropMode; 6] = [
        DropMode::Mask,
        DropMode::Gather,
        DropMode::Hold,
        DropMode::DecayTrue,
        DropMode::DecayDefault,
        DropMode::Carry,
    ];

    /// The same id everywhere.
    pub fn id(self) -> &'static str {
        match self {
            DropMode::Mask => "mask",
            DropMode::Gather => "gather",
            DropMode::Hold => "hold",
            DropMode::DecayTrue => "decay-true",
            DropMode::DecayDefault => "decay-default",
            DropMode::Carry => "carry",
        }
    }

    /// What happens to the state, in TeX.
    pub fn formula(self) -> &'static str {
        match self {
            DropMode::Mask => r"x_p = 0",
            DropMode::Gather => r"h_{q_k} = a_{q_k} h_{q_{k-1}} + b_{q_k}",
            DropMode::Hold => r"h_p = h_{p-1}",
            DropMode::DecayTrue => r"h_p = a_p h_{p-1}",
            DropMode::DecayDefault => r"h_p = a_0 h_{p-1}",
            DropMode::Carry => r"h_p = a_q h_{p-1} + b_q",
        }
    }

    /// The mode with this id.
    ///
    /// # Errors
    /// A sentence with the ids that there are.
    pub fn by_id(id: &str) -> Result<DropMode, String> {
        let found = DropMode::ALL.into_iter().find(|mode| mode.id() == id);
        found.ok_or_else(|| {
            let ids = DropMode::ALL.map(DropMode::id).join(", ");
            format!("there is no drop mode '{id}': choose one of {ids}")
        })
    }

    /// True if the state goes on over a gap in some way, so that a mixer needs one that can.
    pub fn fills_gaps(self) -> bool {
        matches!(
            self,
            DropMode::DecayTrue | DropMode::DecayDefault | DropMode::Carry
        )
    }
}

/// What a convolution or a token shift sees beside a kept token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Neighbours {
    /// The tokens that stood there, dropped ones as they were when they were dropped: every token is
    /// projected and convolved, and the kept ones are taken from that.
    Original,
    /// The kept tokens before it: nothing is computed for dropped tokens.
    Condensed,
}

impl Neighbours {
    /// Both.
    pub const ALL: [Neighbours; 2] = [Neighbours::Original, Neighbours::Condensed];

    /// The same id everywhere.
    pub fn id(self) -> &'static str {
        match self {
            Neighbours::Original => "original",
            Neighbours::Condensed => "condensed",
        }
    }

    /// The choice with this id.
    ///
    /// # Errors
    /// A sentence with the ids that there are.
    pub fn by_id(id: &str) -> Result<Neighbours, String> {
        let found = Neighbours::ALL.into_iter().find(|choice| choice.id() == id);
        found.ok_or_else(|| {
            format!("a convolution sees 'original' or 'condensed' neighbours, not '{id}'")
        })
    }
}
