//! A small pool of loaded models that the workers share.

use std::sync::{Condvar, Mutex, PoisonError};

use anyhow::{Result, bail};

use crate::inference::Engine;
use crate::inference::Model;
use crate::support::lock::lock;

/// Models are loaded when they are first needed, each by the worker that needs it, so that they load side by side.
pub struct Sessions<'a> {
    engine: &'a dyn Engine,
    most: usize,
    state: Mutex<State>,
    returned: Condvar,
}

#[derive(Default)]
struct State {
    idle: Vec<Box<dyn Model>>,
    loaded: usize,
}

impl<'a> Sessions<'a> {
    /// A pool of at most `most` models (at least one).
    pub fn new(most: usize, engine: &'a dyn Engine) -> Self {
        Sessions {
            engine,
            most: most.max(1),
            state: Mutex::default(),
            returned: Condvar::new(),
        }
    }

    /// Waits for a model and works with it.
    pub fn with<T>(&self, work: impl FnOnce(&mut dyn Model) -> Result<T>) -> Result<T> {
        let mut lent = Lent {
            sessions: self,
            model: Some(self.take()?),
        };
        match lent.model.as_deref_mut() {
            Some(model) => work(model),
            None => bail!("no model was lent"),
        }
    }

    fn take(&self) -> Result<Box<dyn Model>> {
        let mut state = lock(&self.state);
        loop {
            if let Some(model) = state.idle.pop() {
                return Ok(model);
            }
            if state.loaded < self.most {
                state.loaded += 1;
                drop(state);
                return self.engine.open().inspect_err(|_| {
                    lock(&self.state).loaded -= 1;
                    self.returned.notify_one();
                });
            }
            state = self
                .returned
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// A model that goes back to the pool, also when the work with it panics: else others would wait for it for ever.
struct Lent<'a, 'e> {
    sessions: &'a Sessions<'e>,
    model: Option<Box<dyn Model>>,
}

impl Drop for Lent<'_, '_> {
    fn drop(&mut self) {
        lock(&self.sessions.state).idle.extend(self.model.take());
        self.sessions.returned.notify_one();
    }
}
