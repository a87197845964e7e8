//! Falcon-Mamba of `transformers` (`models/falcon_mamba/`): Mamba with norms of dt, B and C.

use super::mamba::{Mamba, Norms};
use super::{BACKBONE, Family, Read};
use crate::model::config::Keys;

/// Its entry.
pub static FAMILY: Family = Family {
    model_type: "falcon_mamba",
    class: "FalconMambaForCausalLM",
    name: "Falcon-Mamba",
    names: BACKBONE,
    mark: "mixer.x_proj.weight",
    read,
    ignores: |_| false,
};

fn read(keys: &Keys) -> Read {
    let (common, mut layer) = Mamba::read(keys)?;
    layer.norms = Norms::Weightless(keys.epsilon("mixer_rms_eps", 1e-6)?);
    Ok((common, Box::new(layer)))
}
