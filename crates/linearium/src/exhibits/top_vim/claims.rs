use crate::exhibit::Claim;
pub static CLAIMS: [Claim; 0] = [];
