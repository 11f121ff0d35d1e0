//! A small pool of loaded models that threads share.

use std::sync::{Condvar, Mutex, PoisonError};

use anyhow::{Result, bail};

use super::engine::Engine;
use super::model::Model;
use crate::support::mutex::lock;

/// Models are opened when they are first needed, each by the thread that needs it. On the CPU they share one session,
/// which takes their calls side by side; elsewhere each is loaded. On a GPU there is one: a second session gains nothing
/// there (2,323 pictures a second instead of 2,487 on one H100), and one that is made while another runs can break its
/// run (`operation not permitted when stream is capturing`, in 3 of 11 runs with ONNX Runtime 1.31.1).
pub struct ModelPool {
    engine: Box<dyn Engine>,
    most: usize,
    state: Mutex<State>,
    returned: Condvar,
}

#[derive(Default)]
struct State {
    idle: Vec<Box<dyn Model>>,
    loaded: usize,
    /// How many could not be loaded.
    failed: usize,
    /// Why the last of them could not.
    why: String,
}

impl ModelPool {
    /// A pool for `threads` threads (at least one). It holds as many models, or one on a GPU.
    pub fn new(engine: Box<dyn Engine>, threads: usize) -> Self {
        let most = match engine.execution().provider.is_gpu() {
            true => 1,
            false => threads.max(1),
        };
        ModelPool {
            engine,
            most,
            state: Mutex::default(),
            returned: Condvar::new(),
        }
    }

    /// What loads the models.
    pub fn engine(&self) -> &dyn Engine {
        self.engine.as_ref()
    }

    /// Waits for a model and works with it.
    ///
    /// # Errors
    /// When the work fails, or a model cannot be loaded, here or by another thread meanwhile.
    pub fn with<T>(&self, work: impl FnOnce(&mut dyn Model) -> Result<T>) -> Result<T> {
        let model = self.take(true)?;
        self.lend(model, work)
    }

    /// Works with a model, unless others have all of them: then it does nothing and gives `None`.
    pub fn try_with<T>(&self, work: impl FnOnce(&mut dyn Model) -> Result<T>) -> Result<Option<T>> {
        match self.take(false)? {
            None => Ok(None),
            model => self.lend(model, work).map(Some),
        }
    }

    fn lend<T>(
        &self,
        model: Option<Box<dyn Model>>,
        work: impl FnOnce(&mut dyn Model) -> Result<T>,
    ) -> Result<T> {
        let mut lent = Lent { pool: self, model };
        match lent.model.as_deref_mut() {
            Some(model) => work(model),
            None => bail!("no model was lent"),
        }
    }

    fn take(&self, may_wait: bool) -> Result<Option<Box<dyn Model>>> {
        let mut state = lock(&self.state);
        let failed = state.failed;
        loop {
            if let Some(model) = state.idle.pop() {
                return Ok(Some(model));
            }
            // Each of the others that wait would take as long again to fail.
            if state.failed > failed {
                bail!("{}", state.why);
            }
            if state.loaded < self.most {
                state.loaded += 1;
                drop(state);
                let mut loading = Loading {
                    pool: self,
                    ended: Err("another thread could not load the model".to_owned()),
                };
                let opened = self.engine.open();
                // Whoever waits may be the first to say why the run ends.
                loading.ended = opened
                    .as_ref()
                    .map(|_| ())
                    .map_err(|error| format!("{error:#}"));
                return opened.map(Some);
            }
            if !may_wait {
                return Ok(None);
            }
            state = self
                .returned
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// A model that is being loaded. Where that fails, or panics, others must know.
struct Loading<'a> {
    pool: &'a ModelPool,
    /// Or why not.
    ended: Result<(), String>,
}

impl Drop for Loading<'_> {
    fn drop(&mut self) {
        if let Err(why) = &mut self.ended {
            let mut state = lock(&self.pool.state);
            state.loaded -= 1;
            state.failed += 1;
            state.why = std::mem::take(why);
            self.pool.returned.notify_all();
        }
    }
}

/// A model that goes back to the pool, also when the work with it panics: else others would wait for it for ever.
struct Lent<'a> {
    pool: &'a ModelPool,
    model: Option<Box<dyn Model>>,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        lock(&self.pool.state).idle.extend(self.model.take());
        self.pool.returned.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;
    use crate::inference::Provider;
    use crate::inference::fake::FakeEngine;

    /// How many models four threads open that all ask at once, again and again.
    fn opened(provider: Provider) -> usize {
        let engine = FakeEngine {
            provider,
            ..FakeEngine::default()
        };
        let opened = engine.opened.clone();
        let pool = ModelPool::new(Box::new(engine), 4);
        let start = Barrier::new(4);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    start.wait();
                    for _ in 0..50 {
                        pool.with(|model| Ok(model.run(&[1, 2, 3], &mut Vec::new())?))
                            .unwrap();
                    }
                });
            }
        });
        opened.load(std::sync::atomic::Ordering::SeqCst)
    }

    #[test]
    fn on_a_gpu_no_second_session_is_opened() {
        assert_eq!(opened(Provider::Cuda), 1);
        assert_eq!(opened(Provider::TensorRt), 1);
    }

    #[test]
    fn who_does_not_wait_gets_no_model_while_others_have_it() {
        let engine = FakeEngine {
            provider: Provider::Cuda,
            ..FakeEngine::default()
        };
        let pool = ModelPool::new(Box::new(engine), 2);
        let run = |model: &mut dyn Model| Ok(model.run(&[1, 2, 3], &mut Vec::new())?);
        let meanwhile = pool.with(|_| pool.try_with(run)).unwrap();
        assert_eq!(meanwhile, None);
        assert_eq!(pool.try_with(run).unwrap(), Some(()));
    }

    #[test]
    fn elsewhere_each_thread_that_waits_gets_a_session() {
        let engine = FakeEngine::default();
        let opened = engine.opened.clone();
        let pool = ModelPool::new(Box::new(engine), 3);
        let all_have_one = Barrier::new(3);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let have_one = |_: &mut dyn Model| {
                        all_have_one.wait();
                        Ok(())
                    };
                    pool.with(have_one).unwrap();
                });
            }
        });
        assert_eq!(opened.load(std::sync::atomic::Ordering::SeqCst), 3);
    }
}
