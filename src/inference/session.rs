//! A graph that is loaded: what it takes and gives, and a call of it.

use std::ffi::CString;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ort::AsPointer;
use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ort::session::{IoBinding, Session};
use ort::value::{DynValue, Outlet, Tensor, TensorElementType, TensorRef, ValueType};

use super::finish::add_features;
use super::model::{Form, Model, ModelError};
use super::provider::Provider;
use super::rewrite::{Feed, Layout, Output, Table, feature_output};
use super::runtime::{Placement, SessionOptions};
use crate::pictures::preprocessing::Numbers;
use crate::storage::recipe::Finish;
use crate::support::progress::counted;

const NEEDED_INPUT: &str = "one float32 or uint8 input of shape [n, height, width, 3] or [n, 3, height, width]; where the height \
                            and width are open, --preprocess gives them";
const NEEDED_OUTPUT: &str = "a float32 output of shape [n, d], or of shape [n, tokens, d] with --pool, that is the only such one, or \
                             has one of the names that are known (feature_vector, image_embeds, pooler_output), or that \
                             --output-name names";
const NEEDED_TOKENS: &str = "with --pool a float32 output of shape [n, tokens, d]; leave out --pool for one of shape \
                             [n, d]";

/// A model in ONNX Runtime.
#[derive(Debug)]
pub struct OnnxModel {
    form: Form,
    finish: Finish,
    provider: Provider,
    placement: Placement,
    graph: Graph,
    first_call: Duration,
}

/// A loaded graph, and how pictures get into it.
#[derive(Debug)]
enum Graph {
    /// As f32 by a table, in a buffer that is used again.
    Floats {
        session: Arc<Session>,
        table: Table,
        buffer: Vec<f32>,
    },
    /// As bytes, in a tensor that a device copies from by itself.
    Bytes { session: Session, bound: Box<Bound> },
}

/// What goes to a device and comes back, in memory from and to which it copies by itself.
#[derive(Debug)]
struct Bound {
    binding: IoBinding,
    /// `[batch, height, width, 3]`; used again for every batch.
    pixels: Tensor<u8>,
    /// Where the output is to be.
    output: MemoryInfo<'static>,
}

impl OnnxModel {
    pub(super) fn new(
        session: Session,
        placement: Placement,
        options: &SessionOptions,
        feed: Feed,
    ) -> Result<Self, ModelError> {
        let provider = options.provider;
        let (input, height, width, layout, fixed_batch) =
            picture_input(session.inputs(), &feed, options.size)?;
        let output = output_of(session.outputs(), options)?;
        let form = Form {
            input,
            output,
            height,
            width,
            layout,
            numbers: Numbers::Over255,
            // A GPU plans anew for each size of batch that it has not met, while others may use it.
            fixed_batch: fixed_batch.or(options.batch.filter(|_| provider.is_gpu())),
            dimension: 0,
        };
        let graph = match feed {
            Feed::Floats(table) => Graph::Floats {
                session: Arc::new(session),
                table,
                buffer: Vec::new(),
            },
            Feed::Bytes => {
                let bound = Bound::new(&session, &form, options)
                    .map_err(|error| ModelError::of_run(provider, 1, error))?;
                let bound = Box::new(bound);
                Graph::Bytes { session, bound }
            }
        };
        Ok(OnnxModel {
            form,
            finish: options.finish,
            provider,
            placement,
            graph,
            first_call: Duration::ZERO,
        })
    }

    /// The same session for another thread, with the same weights; `None` where one thread at a time may call it.
    ///
    /// On the CPU provider a call runs on the thread that makes it, and takes three pieces of memory from what the
    /// session's threads share: it is as fast as with a session each. (MobileNetV3-Large minimalistic, 16 threads on
    /// two cores, ONNX Runtime 1.32.0: 88 MB for all of them, with a session each 436 MB.)
    pub fn shared(&self) -> Option<Self> {
        match &self.graph {
            Graph::Floats { session, table, .. } if self.provider == Provider::Cpu => {
                Some(OnnxModel {
                    form: self.form.clone(),
                    finish: self.finish,
                    provider: self.provider,
                    placement: self.placement.clone(),
                    graph: Graph::Floats {
                        session: session.clone(),
                        table: table.clone(),
                        buffer: Vec::new(),
                    },
                    first_call: self.first_call,
                })
            }
            Graph::Floats { .. } | Graph::Bytes { .. } => None,
        }
    }

    /// Calls the model for the first time, on a black picture: the provider plans all that it has to, and the graph
    /// need not say how long its features are.
    pub(super) fn warm_up(&mut self) -> Result<(), ModelError> {
        let started = Instant::now();
        let mut features = Vec::new();
        let black = vec![0; self.form.height * self.form.width * 3];
        self.call(&black, 1, &mut features)?;
        self.form.dimension = features.len();
        self.first_call = started.elapsed();
        Ok(())
    }

    /// How long the first call took, with all that the provider plans for it; zero before it.
    pub fn first_call(&self) -> Duration {
        self.first_call
    }

    /// Where the runtime put the nodes, for a GPU provider.
    pub fn placement(&self) -> Option<String> {
        self.placement.describe()
    }

    /// One call of the runtime on `count` pictures; where the batch axis is fixed, the rest of it is zeros.
    fn call(
        &mut self,
        pixels: &[u8],
        count: usize,
        features: &mut Vec<f32>,
    ) -> Result<(), ModelError> {
        let batch = self.form.fixed_batch.unwrap_or(count);
        let output = self
            .output(pixels, batch)
            .map_err(|error| ModelError::of_run(self.provider, batch, error))?;
        let (shape, data) = output
            .try_extract_tensor::<f32>()
            .map_err(|error| ModelError::of_run(self.provider, batch, error))?;
        add_features(self.finish, shape, data, batch, count, features).ok_or_else(|| {
            let found = format!(
                "the output `{}` has the shape {shape:?} for {}",
                self.form.output,
                counted(batch, "picture")
            );
            let needed = match self.finish.pool {
                Some(_) => NEEDED_TOKENS,
                None => NEEDED_OUTPUT,
            };
            ModelError::Unfit { found, needed }
        })
    }

    /// The output of one call, in memory that no other call writes to.
    fn output(&mut self, pixels: &[u8], batch: usize) -> ort::Result<DynValue> {
        let Form { input, output, .. } = &self.form;
        match &mut self.graph {
            Graph::Floats {
                session,
                table,
                buffer,
            } => {
                let shape = fill(buffer, &self.form, table, pixels, batch);
                let tensor = TensorRef::from_array_view((shape, &buffer[..]))?;
                run(session, input, &tensor, output)
            }
            Graph::Bytes { session, bound } => {
                bound.bind(input, output, pixels)?;
                let mut outputs = session.run_binding(&bound.binding)?;
                outputs.remove(output).ok_or_else(|| not_given(output))
            }
        }
    }
}

/// Calls a session that other threads may be calling. (`Session::run` wants it for itself, since not every provider can
/// do this; ONNX Runtime promises it of its own.)
#[allow(unsafe_code, reason = "C functions")]
fn run(
    session: &Session,
    input: &str,
    tensor: &TensorRef<'_, f32>,
    output: &str,
) -> ort::Result<DynValue> {
    let name = |name: &str| CString::new(name).map_err(|error| ort::Error::new(error.to_string()));
    let (input, wanted) = (name(input)?, name(output)?);
    let mut found = ptr::null_mut();
    // SAFETY: the names, the tensor and the session outlive the call, one name belongs to each value, and the pointer to
    // an output that is null is what the runtime replaces with one that it makes. It lets several threads call `Run` of
    // one session, and does not change the session, whatever the type of its pointer says.
    unsafe {
        ort::Error::result_from_status((ort::api().Run)(
            session.ptr().cast_mut(),
            ptr::null(),
            [input.as_ptr()].as_ptr(),
            [tensor.ptr()].as_ptr(),
            1,
            [wanted.as_ptr()].as_ptr(),
            1,
            &raw mut found,
        ))?;
        let found = NonNull::new(found).ok_or_else(|| not_given(output))?;
        Ok(DynValue::from_ptr(found, Some(session.allocator())))
    }
}

fn not_given(output: &str) -> ort::Error {
    ort::Error::new(format!("the output `{output}` was not given"))
}

impl Bound {
    fn new(session: &Session, form: &Form, options: &SessionOptions) -> ort::Result<Self> {
        let memory = |kind| {
            let device = match options.provider {
                Provider::Cpu | Provider::OpenVino => AllocationDevice::CPU,
                Provider::Cuda | Provider::TensorRt => AllocationDevice::CUDA_PINNED,
            };
            MemoryInfo::new(device, options.device, AllocatorType::Device, kind)
        };
        let allocator = Allocator::new(session, memory(MemoryType::CPUInput)?)?;
        let batch = form.fixed_batch.unwrap_or(1);
        Ok(Bound {
            binding: session.create_binding()?,
            pixels: Tensor::new(&allocator, [batch, form.height, form.width, 3])?,
            output: memory(MemoryType::CPUOutput)?,
        })
    }

    /// Copies pictures to where the device gets them, black ones after them, and binds input and output for one call.
    fn bind(&mut self, input: &str, output: &str, pixels: &[u8]) -> ort::Result<()> {
        let (_, bytes) = self.pixels.extract_tensor_mut();
        bytes[..pixels.len()].copy_from_slice(pixels);
        bytes[pixels.len()..].fill(0);
        // The device has what was there when it was bound, so that it must be bound anew.
        self.binding.bind_input(input, &self.pixels)?;
        // And so must the output: after a call the binding holds the tensor that the call gave, the next call writes to
        // it, and on CUDA fails instead: `dst_data != src_data was false` (onnxruntime issue 29713; seen in 1.31.1 with
        // ort 2.0.0-rc.15 on an H100).
        self.binding.clear_outputs();
        self.binding.bind_output_to_device(output, &self.output)?;
        self.binding.synchronize_inputs()
    }
}

/// Makes the input of a batch from pictures, and zeros behind them; returns its shape.
fn fill(
    buffer: &mut Vec<f32>,
    form: &Form,
    table: &Table,
    pixels: &[u8],
    batch: usize,
) -> [usize; 4] {
    let Form { height, width, .. } = *form;
    let size = height * width;
    buffer.resize(batch * size * 3, 0.0);
    buffer[pixels.len()..].fill(0.0);
    let [reds, greens, blues] = &**table;
    let floats = buffer
        .chunks_exact_mut(size * 3)
        .zip(pixels.chunks_exact(size * 3));
    match form.layout {
        Layout::Nhwc => {
            for (to, from) in floats {
                for (to, from) in to.chunks_exact_mut(3).zip(from.chunks_exact(3)) {
                    to[0] = reds[usize::from(from[0])];
                    to[1] = greens[usize::from(from[1])];
                    to[2] = blues[usize::from(from[2])];
                }
            }
            [batch, height, width, 3]
        }
        Layout::Nchw => {
            for (to, from) in floats {
                let (red, rest) = to.split_at_mut(size);
                let (green, blue) = rest.split_at_mut(size);
                let planes = red.iter_mut().zip(green).zip(blue);
                for (((red, green), blue), from) in planes.zip(from.chunks_exact(3)) {
                    *red = reds[usize::from(from[0])];
                    *green = greens[usize::from(from[1])];
                    *blue = blues[usize::from(from[2])];
                }
            }
            [batch, 3, height, width]
        }
    }
}

impl Model for OnnxModel {
    fn form(&self) -> &Form {
        &self.form
    }

    fn run(&mut self, pixels: &[u8], features: &mut Vec<f32>) -> Result<(), ModelError> {
        let size = self.form.height * self.form.width * 3;
        let count = pixels.len() / size;
        let batch = self.form.fixed_batch.unwrap_or(count).max(1);
        for pictures in pixels.chunks(batch * size) {
            self.call(pictures, pictures.len() / size, features)?;
        }
        Ok(())
    }
}

type PictureInput = (String, usize, usize, Layout, Option<usize>);

/// The input for pictures; `size` is the width and height where the graph leaves them open.
fn picture_input(
    inputs: &[Outlet],
    feed: &Feed,
    size: Option<[usize; 2]>,
) -> Result<PictureInput, ModelError> {
    let unfit = || ModelError::Unfit {
        found: format!("the model takes {}", describe(inputs)),
        needed: NEEDED_INPUT,
    };
    let [input] = inputs else { return Err(unfit()) };
    let ValueType::Tensor { ty, shape, .. } = input.dtype() else {
        return Err(unfit());
    };
    let wanted = match feed {
        Feed::Floats(_) => TensorElementType::Float32,
        Feed::Bytes => TensorElementType::Uint8,
    };
    if *ty != wanted {
        return Err(unfit());
    }
    let (batch, height, width, layout) = match shape[..] {
        [batch, height, width, 3] => (batch, height, width, Layout::Nhwc),
        [batch, 3, height, width] => (batch, height, width, Layout::Nchw),
        _ => return Err(unfit()),
    };
    let side = |fixed: i64, open: Option<usize>| match usize::try_from(fixed) {
        Ok(fixed) if fixed > 0 => Ok(fixed),
        _ => open.ok_or_else(unfit),
    };
    let width = side(width, size.map(|[width, _]| width))?;
    let height = side(height, size.map(|[_, height]| height))?;
    let fixed_batch = usize::try_from(batch).ok().filter(|batch| *batch > 0);
    Ok((input.name().to_owned(), height, width, layout, fixed_batch))
}

fn output_of(outputs: &[Outlet], options: &SessionOptions) -> Result<String, ModelError> {
    let unfit = || ModelError::Unfit {
        found: format!("the model gives {}", describe(outputs)),
        needed: NEEDED_OUTPUT,
    };
    let known: Vec<Output<'_>> = outputs.iter().map(name_and_axes).collect();
    let pooled = options.finish.pool.is_some();
    let wanted = options.output_name.as_deref();
    if let Some(wanted) = wanted
        && known.iter().all(|(name, _)| *name != wanted)
    {
        return Err(ModelError::Unfit {
            found: format!(
                "the model has no output `{wanted}`, and gives {}",
                describe(outputs)
            ),
            needed: "--output-name with the name of an output",
        });
    }
    let output = &outputs[feature_output(&known, wanted, pooled).ok_or_else(unfit)?];
    match output.dtype() {
        ValueType::Tensor {
            ty: TensorElementType::Float32,
            shape,
            ..
        } if shape.len() >= 2 || shape.is_empty() => Ok(output.name().to_owned()),
        _ => Err(unfit()),
    }
}

/// The name of an output, and how many axes it has where that is known.
pub(super) fn name_and_axes(outlet: &Outlet) -> Output<'_> {
    let axes = match outlet.dtype() {
        ValueType::Tensor { shape, .. } => Some(shape.len()),
        _ => None,
    };
    (outlet.name(), axes.filter(|axes| *axes > 0))
}

/// Names, types and shapes, for people.
fn describe(outlets: &[Outlet]) -> String {
    let one = |outlet: &Outlet| format!("`{}` {}", outlet.name(), outlet.dtype());
    match outlets {
        [] => "nothing".into(),
        _ => outlets.iter().map(one).collect::<Vec<_>>().join(", "),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Barrier, LazyLock};

    use prost::bytes::Bytes;

    use super::*;
    use crate::inference::rewrite::{Target, plain_table, rewrite};
    use crate::inference::{Places, Runtime, default_model};

    /// The runtime, of which a process may have one; none where there is none.
    static RUNTIME: LazyLock<Option<Runtime>> = LazyLock::new(|| {
        let places = Places {
            named: std::env::var_os("ORT_DYLIB_PATH").map(Into::into),
            program: std::env::current_exe().ok(),
            ..Places::default()
        };
        let library = places.find().ok()?;
        Some(Runtime::load(&library).unwrap())
    });

    /// A model whose input and output are bound as on a GPU, on the CPU provider; none without a runtime.
    fn bound_model(batch: usize) -> Option<OnnxModel> {
        let Some(runtime) = &*RUNTIME else {
            eprintln!("skipped: no ONNX Runtime; `make setup` fetches one");
            return None;
        };
        let target = Target::Gpu { batch, half: false };
        let rewritten = rewrite(
            &Bytes::from_static(default_model::BYTES),
            target,
            &plain_table(),
        )
        .unwrap()
        .unwrap();
        assert_eq!(rewritten.feed, Some(Feed::Bytes));
        let options = SessionOptions::default();
        let opened = runtime.open(&rewritten.model, &Feed::Bytes, &options, &[]);
        Some(opened.unwrap())
    }

    /// What four threads get that call one session at the same time, each on pictures of its own.
    #[test]
    fn threads_that_share_a_session_get_each_picture_its_own_feature() {
        let Some(runtime) = &*RUNTIME else {
            eprintln!("skipped: no ONNX Runtime; `make setup` fetches one");
            return;
        };
        let options = SessionOptions::default();
        let opened = runtime.open(default_model::BYTES, &Feed::default(), &options, &[]);
        let mut model = opened.unwrap();
        let gray = |thread: u8, call: u8| thread * 60 + call;
        let mut expected = Vec::new();
        for (thread, call) in (0..4).flat_map(|thread| (0..10).map(move |call| (thread, call))) {
            let picture = pictures(&model.form, &[gray(thread, call)]);
            model.run(&picture, &mut expected).unwrap();
        }
        let start = Barrier::new(4);
        let threads: Vec<Vec<f32>> = std::thread::scope(|scope| {
            let called = |thread| {
                let mut model = model.shared().unwrap();
                let start = &start;
                scope.spawn(move || {
                    let mut features = Vec::new();
                    start.wait();
                    for call in 0..10 {
                        let picture = pictures(&model.form, &[gray(thread, call)]);
                        model.run(&picture, &mut features).unwrap();
                    }
                    features
                })
            };
            let threads: Vec<_> = (0..4).map(called).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        assert_eq!(threads.concat().len(), 40 * model.form.dimension);
        assert!(threads.concat() == expected);
    }

    #[test]
    fn a_session_that_is_bound_to_a_device_is_not_shared() {
        assert!(bound_model(1).is_none_or(|model| model.shared().is_none()));
    }

    /// Pictures of one gray each, `[n, height, width, 3]`.
    fn pictures(form: &Form, grays: &[u8]) -> Vec<u8> {
        let size = form.height * form.width * 3;
        let each = grays
            .iter()
            .flat_map(|gray| (0..size).map(move |at| gray.wrapping_add((at % 251) as u8)));
        each.collect()
    }

    #[test]
    fn the_output_of_a_call_is_its_own() {
        let Some(mut model) = bound_model(2) else {
            return;
        };
        let first = pictures(&model.form, &[10, 20]);
        let values = |output: &DynValue| output.try_extract_tensor::<f32>().unwrap().1.to_vec();
        let kept = model.output(&first, 2).unwrap();
        let before = values(&kept);
        for gray in 0..100 {
            let output = model
                .output(&pictures(&model.form, &[gray, 255 - gray]), 2)
                .unwrap();
            assert_ne!(values(&output), before);
            assert!(
                values(&kept) == before,
                "call {gray} wrote to the output of another"
            );
        }
        assert_eq!(values(&model.output(&first, 2).unwrap()), before);
    }

    #[test]
    fn many_calls_give_each_picture_its_feature_and_the_last_batch_need_not_be_full() {
        let Some(mut model) = bound_model(4) else {
            return;
        };
        let grays: Vec<u8> = (0..23).collect();
        let mut together = Vec::new();
        model
            .run(&pictures(&model.form, &grays), &mut together)
            .unwrap();
        let mut apart = Vec::new();
        for gray in grays {
            model
                .run(&pictures(&model.form, &[gray]), &mut apart)
                .unwrap();
        }
        assert_eq!(together.len(), 23 * model.form.dimension);
        assert_eq!(together, apart);
    }
}
