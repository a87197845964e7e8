//! Image classifiers in the shape of ViM (arXiv 2401.09417, `hustvl/Vim vim/models_mamba.py`) and of
//! PlainMamba (`ChenhongyiYang/PlainMamba`): patches, blocks of S6 along several scan orders whose
//! outputs are averaged, a norm and a head. Tokens can be dropped on the way ([`session`]).

pub mod backbone;
pub mod load;
pub mod pixels;
pub mod plan;
pub mod scenes;
pub mod session;

pub use backbone::Backbone;
pub use pixels::Grey;
pub use session::{ImageSession, Pruned, Reading};
