//! Exhibits in the lab: they run on its host, with its models and texts.

use std::cell::RefCell;
use std::rc::Rc;

use super::host::Host;
use super::{Lab, Need};
use crate::by_id::ById;
use crate::exhibit::{Answer, AnyPlayer, Bench, Checked, Pending, Place};
use crate::exhibits::known;
use crate::model::image::{Backbone, Grey, load};
use crate::model::load::Files;
use crate::model::stack::Stack;
use crate::recording::Layout;
use crate::settings::Settings;

/// Lets others work in the middle of a run; an error ends the run.
pub type Rest<'a> = &'a dyn Fn() -> Pending<'static, ()>;

/// What only exhibits read, and what they have measured.
#[derive(Default)]
pub(super) struct Provided {
    classifiers: ById<Rc<Backbone>>,
    images: ById<Rc<Grey>>,
    measured: RefCell<ById<Rc<[f64]>>>,
}

/// So many measurements are kept at most.
const MAX_MEASURED: usize = 4096;

impl Provided {
    /// Takes the files if they are an image classifier's, with one line about it; else gives them
    /// back.
    pub(super) fn classifier(
        &mut self,
        id: &str,
        mut files: Files,
    ) -> Result<Result<String, Files>, String> {
        let image = |config: &Vec<u8>| load::is_image_model(config);
        if !files.config.as_ref().is_some_and(image) {
            return Ok(Err(files));
        }
        let (Some(config), Some((_, weights))) = (files.config.take(), files.weights.pop()) else {
            return Err("there are no weights: give model.safetensors".to_owned());
        };
        let backbone = load::load(&config, weights)?;
        let description = format!(
            "{}: {} blocks of width {}, {} parameters",
            backbone.name,
            backbone.blocks.len(),
            backbone.width,
            backbone.parameters()
        );
        self.classifiers.insert(id, Rc::new(backbone));
        self.forget();
        Ok(Ok(description))
    }

    /// What was measured may have been of other files.
    pub(super) fn forget(&mut self) {
        *self.measured.borrow_mut() = ById::default();
    }
}

struct InLab<'a, H: Host> {
    lab: &'a Lab<H>,
    rest: Rest<'a>,
}

impl<H: Host> Place for InLab<'_, H>
where
    H::Player: 'static,
{
    fn player(&self, gpu: bool, layout: Layout) -> Pending<'_, Box<dyn AnyPlayer>> {
        Box::pin(async move {
            let player = self.lab.host.player(gpu, layout).await?;
            Ok(Box::new(player) as Box<dyn AnyPlayer>)
        })
    }

    fn segment_tokens(&self, gpu: bool) -> usize {
        self.lab.host.segment_tokens(gpu)
    }

    fn now_ms(&self) -> f64 {
        self.lab.host.now_ms()
    }

    fn self_check(&self) -> String {
        self.lab.host.self_check()
    }

    fn model(&self, id: &str) -> Option<Rc<Stack>> {
        self.lab.models.get(id).cloned()
    }

    fn text(&self, id: &str) -> Option<Rc<[u8]>> {
        self.lab.texts.get(id).cloned()
    }

    fn rest(&self) -> Pending<'_, ()> {
        (self.rest)()
    }

    fn classifier(&self, id: &str) -> Option<Rc<Backbone>> {
        self.lab.seen.classifiers.get(id).cloned()
    }

    fn image(&self, id: &str) -> Option<Rc<Grey>> {
        self.lab.seen.images.get(id).cloned()
    }

    fn measured(&self, key: &str) -> Option<Rc<[f64]>> {
        self.lab.seen.measured.borrow().get(key).cloned()
    }

    fn remember(&self, key: &str, values: &[f64]) {
        let mut all = self.lab.seen.measured.borrow_mut();
        if all.iter().count() >= MAX_MEASURED {
            *all = ById::default();
        }
        all.insert(key, values.into());
    }
}

impl<H: Host> Lab<H>
where
    H::Player: 'static,
{
    /// Those of these needs that are not here yet.
    fn missing(&self, needs: Vec<Need>) -> Vec<Need> {
        let here = |need: &Need| match need.kind {
            "model" => self.models.contains(&need.id) || self.seen.classifiers.contains(&need.id),
            "image" => self.seen.images.contains(&need.id),
            _ => self.texts.contains(&need.id),
        };
        needs.into_iter().filter(|n| !here(n)).collect()
    }

    /// Gives exhibits a picture, under the id that a [`Need`] named.
    pub fn provide_image(&mut self, id: &str, image: Grey) {
        self.seen.images.insert(id, Rc::new(image));
        self.seen.forget();
    }

    /// One run of an exhibit with the settings of this query. Without the files that it needs it
    /// only says which they are.
    ///
    /// # Errors
    /// One sentence: there is no such exhibit, `rest` ended the run, or a player failed.
    pub async fn exhibit(&self, slug: &str, query: &str, rest: Rest<'_>) -> Result<Answer, String> {
        let exhibit = known(slug)?;
        let (settings, mut notices) = Settings::read(exhibit.controls, query);
        let mut answer = Answer {
            query: settings.to_query(),
            notices: Vec::new(),
            needs: self.missing((exhibit.needs)(&settings)),
            panel: None,
            values: Vec::new(),
            idle: Vec::new(),
        };
        if answer.needs.is_empty() {
            let wanted = settings.get("backend") == "gpu";
            if wanted && !self.gpu_ready {
                notices.push("no GPU has passed its self-check yet: the CPU computed this".into());
            }
            let place = InLab { lab: self, rest };
            let bench = Bench::new(&place, wanted && self.gpu_ready);
            let (panel, values, idle) = exhibit.show(&settings, &bench).await?;
            answer.panel = Some(panel);
            (answer.values, answer.idle) = (values, idle);
        }
        answer.notices = notices;
        Ok(answer)
    }

    /// What must be provided before a claim can be measured.
    ///
    /// # Errors
    /// One sentence: there is no such exhibit or claim.
    pub fn claim_needs(&self, slug: &str, claim: &str) -> Result<Vec<Need>, String> {
        Ok(self.missing((claim_of(slug, claim)?.needs)()))
    }

    /// Measures a claim of an exhibit.
    ///
    /// # Errors
    /// One sentence: there is no such exhibit or claim, a file is missing, `rest` ended the run, or
    /// a player failed.
    pub async fn check_claim(
        &self,
        slug: &str,
        claim: &str,
        gpu: bool,
        rest: Rest<'_>,
    ) -> Result<Checked, String> {
        if gpu && !self.gpu_ready {
            return Err("there is no GPU that passed its self-check: measure on the CPU".into());
        }
        let place = InLab { lab: self, rest };
        let bench = Bench::new(&place, gpu);
        known(slug)?.check(claim_of(slug, claim)?, &bench).await
    }
}

fn claim_of(slug: &str, claim: &str) -> Result<&'static crate::exhibit::Claim, String> {
    let claims = known(slug)?.claims;
    claims.iter().find(|c| c.id == claim).ok_or_else(|| {
        let ids: Vec<&str> = claims.iter().map(|c| c.id).collect();
        format!(
            "{slug} has no claim “{claim}”: give one of {}",
            ids.join(", ")
        )
    })
}
