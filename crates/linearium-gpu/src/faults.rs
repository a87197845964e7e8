//! What has gone wrong on a device, written by its callbacks and read before every use.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// Shared with the callbacks of a device.
#[derive(Clone, Default)]
pub(crate) struct Faults(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    lost: Option<String>,
    error: Option<String>,
}

impl Faults {
    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves two options, which are always valid.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Listens to a device.
    pub(crate) fn listen(&self, device: &wgpu::Device) {
        let faults = self.clone();
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            faults.report(&sentence(&error));
        }));
        let faults = self.clone();
        device.set_device_lost_callback(move |reason, message| {
            faults.lose(match reason {
                wgpu::DeviceLostReason::Destroyed => "it was given up",
                wgpu::DeviceLostReason::Unknown if message.is_empty() => "the driver says no more",
                wgpu::DeviceLostReason::Unknown => &message,
            });
        });
    }

    /// Keeps the first error.
    pub(crate) fn report(&self, message: &str) {
        self.state()
            .error
            .get_or_insert_with(|| format!("The GPU reported an error: {message}"));
    }

    /// Keeps the first loss.
    pub(crate) fn lose(&self, reason: &str) {
        self.state().lost.get_or_insert_with(|| {
            format!(
                "The GPU device was lost ({}); make a new one, or go on on the CPU.",
                one_line(reason)
            )
        });
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.state().lost.is_some()
    }

    /// The loss, else the first error.
    pub(crate) fn check(&self) -> Result<(), String> {
        let state = self.state();
        match state.lost.as_ref().or(state.error.as_ref()) {
            Some(message) => Err(message.clone()),
            None => Ok(()),
        }
    }
}

/// The message of an error on one line, without the source listing that follows it.
pub(crate) fn sentence(error: &wgpu::Error) -> String {
    match error {
        wgpu::Error::OutOfMemory { .. } => "out of memory".to_owned(),
        wgpu::Error::Validation { description, .. } | wgpu::Error::Internal { description, .. } => {
            one_line(description)
        }
    }
}

fn one_line(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut end = line.len().min(400);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    line[..end].to_owned()
}

/// Errors of one piece of work, to be waited for later.
pub(crate) type Pending = Pin<Box<dyn Future<Output = Option<wgpu::Error>>>>;

/// Runs `work` with its errors caught; they come out of the futures, on the web later.
pub(crate) fn scoped<T>(device: &wgpu::Device, work: impl FnOnce() -> T) -> (T, [Pending; 3]) {
    let memory = device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
    let internal = device.push_error_scope(wgpu::ErrorFilter::Internal);
    let validation = device.push_error_scope(wgpu::ErrorFilter::Validation);
    let result = work();
    // The innermost scope first.
    let pending: [Pending; 3] = [
        Box::pin(validation.pop()),
        Box::pin(internal.pop()),
        Box::pin(memory.pop()),
    ];
    (result, pending)
}

/// The first error of several.
pub(crate) async fn first_error(pending: impl IntoIterator<Item = Pending>) -> Option<wgpu::Error> {
    let mut first = None;
    for future in pending {
        let error = future.await;
        first = first.or(error);
    }
    first
}

/// The errors that are known already; the others stay in the list.
pub(crate) fn known_errors(pending: &mut Vec<Pending>) -> Option<wgpu::Error> {
    let mut context = Context::from_waker(Waker::noop());
    let mut first = None;
    pending.retain_mut(|future| match future.as_mut().poll(&mut context) {
        Poll::Ready(error) => {
            first = first.take().or(error);
            false
        }
        Poll::Pending => true,
    });
    first
}
