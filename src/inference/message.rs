//! What ONNX Runtime says of an error, made readable.

use std::error::Error;
use std::fmt;

/// The message of an error of ONNX Runtime. It is shown without the source paths and signatures of C++; `{:?}` has
/// them.
#[derive(Debug)]
pub struct RuntimeMessage(String);

impl From<ort::Error> for RuntimeMessage {
    fn from(error: ort::Error) -> Self {
        RuntimeMessage(error.message().to_owned())
    }
}

#[cfg(test)]
impl From<&str> for RuntimeMessage {
    fn from(message: &str) -> Self {
        RuntimeMessage(message.to_owned())
    }
}

impl fmt::Display for RuntimeMessage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&readable(&self.0))
    }
}

impl Error for RuntimeMessage {}

/// What happened to a device while a model ran on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceFailure {
    /// It has no memory left.
    OutOfMemory,
    /// It is gone, or does not recover within this process.
    Lost,
}

impl RuntimeMessage {
    /// Whether the device is to blame, rather than the model.
    pub fn device_failure(&self) -> Option<DeviceFailure> {
        device_failure(&self.0)
    }
}

/// What the runtime calls an error of one of CUDA's libraries: before its number, and what it is called in words.
const CUDA_FAILURES: [&str; 5] = [
    "CUDA failure ",
    "CUDA error ",
    "CUDNN failure ",
    "CUDNN_FE failure ",
    "CUBLAS failure ",
];

fn device_failure(message: &str) -> Option<DeviceFailure> {
    let text = message.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if says(&[
        "out of memory",
        "failed to allocate memory",
        "alloc_failed",
        "available memory of",
    ]) {
        return Some(DeviceFailure::OutOfMemory);
    }
    CUDA_FAILURES
        .iter()
        .any(|failure| message.contains(failure))
        .then_some(DeviceFailure::Lost)
}

/// One line without source paths, signatures, and what the runtime says of the machine.
fn readable(message: &str) -> String {
    // The libraries' own error is what happened; around it is where in the runtime it was seen.
    let starts = CUDA_FAILURES.iter().filter_map(|name| message.find(name));
    if let Some(start) = starts.min() {
        let found = &message[start..];
        let end = [" ; ", "\n"].iter().filter_map(|end| found.find(end)).min();
        return found[..end.unwrap_or(found.len())].trim().to_owned();
    }
    let lines = message.lines().map(without_source);
    let lines: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    lines.join(" ")
}

/// What follows the last `path/file.cc:123 type function(arguments) [with ...]` of a line.
fn without_source(line: &str) -> &str {
    let ends = [".cc:", ".h:", ".cpp:", ".cu:"];
    let Some((at, end)) = (ends.iter())
        .filter_map(|end| Some((line.rfind(end)?, end)))
        .max()
    else {
        return line.trim();
    };
    let start = line[..at]
        .rfind(char::is_whitespace)
        .map_or(0, |space| space + 1);
    let after = line[at + end.len()..].trim_start_matches(|digit: char| digit.is_ascii_digit());
    let after = after_signature(after).trim();
    match after.is_empty() {
        true => line[..start].trim(),
        false => after,
    }
}

/// What follows a function's arguments, and the template arguments that GCC adds in brackets.
fn after_signature(text: &str) -> &str {
    let after = after_pair(text, '(', ')').unwrap_or(text).trim_start();
    let after = after.strip_prefix("const").unwrap_or(after).trim_start();
    match after.starts_with("[with ") {
        true => after_pair(after, '[', ']').unwrap_or(after),
        false => after,
    }
}

/// What follows the first pair of brackets, which may hold others.
fn after_pair(text: &str, open: char, close: char) -> Option<&str> {
    let mut depth = 0;
    for (at, character) in text.char_indices() {
        if character == open {
            depth += 1;
        } else if character == close && depth > 0 {
            depth -= 1;
            if depth == 0 {
                return Some(&text[at + close.len_utf8()..]);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As ONNX Runtime 1.31 and 1.32 print them, with the paths of their build machine.
    const NO_SUCH_DEVICE: &str = "/onnxruntime_src/onnxruntime/core/providers/cuda/cuda_call.cc:129 \
        std::conditional_t<THRW, void, onnxruntime::common::Status> onnxruntime::CudaCall(ERRTYPE, const char*, const \
        char*, SUCCTYPE, const char*, const char*, int) [with ERRTYPE = cudaError; bool THRW = true] \
        /onnxruntime_src/onnxruntime/core/providers/cuda/cuda_call.cc:121 void onnxruntime::CudaCall() \
        CUDA failure 101: invalid device ordinal ; GPU=-1 ; hostname=node ; \
        file=/onnxruntime_src/onnxruntime/core/providers/cuda/cuda_execution_provider.cc ; line=281 ; \
        expr=cudaSetDevice(info_.device_id);\n\n";
    const NO_MEMORY: &str = "Non-zero status code returned while running FusedConv node. Name:'conv_1' Status Message: \
        /onnxruntime_src/onnxruntime/core/framework/bfc_arena.cc:376 void* \
        onnxruntime::BFCArena::AllocateRawInternal(size_t, bool, onnxruntime::Stream*) Failed to allocate memory for \
        requested buffer of size 205520896\n";

    #[test]
    fn source_paths_and_signatures_are_cut() {
        for (message, shown) in [
            (NO_SUCH_DEVICE, "CUDA failure 101: invalid device ordinal"),
            (
                NO_MEMORY,
                "Failed to allocate memory for requested buffer of size 205520896",
            ),
            (
                "/build/core/session.cc:45 onnxruntime::Status Load(const std::vector<int>&) const [with T = int] Load \
                 model from x.onnx failed:Protobuf parsing failed.",
                "Load model from x.onnx failed:Protobuf parsing failed.",
            ),
            (
                "Got invalid dimensions for input: inputs for the following indices\n index: 1 Got: 3 Expected: 224\n",
                "Got invalid dimensions for input: inputs for the following indices index: 1 Got: 3 Expected: 224",
            ),
            ("see graph.cc:12", "see"),
            ("unbalanced a.cc:7 f(x", "f(x"),
            ("", ""),
        ] {
            assert_eq!(readable(message), shown, "{message}");
        }
    }

    #[test]
    fn errors_of_the_device_are_told_from_those_of_the_model() {
        for (message, failure) in [
            (NO_MEMORY, Some(DeviceFailure::OutOfMemory)),
            (
                "CUDA failure 2: out of memory ; GPU=0 ; expr=cudaMalloc((void**)&p, size);",
                Some(DeviceFailure::OutOfMemory),
            ),
            (
                "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED ; GPU=0",
                Some(DeviceFailure::OutOfMemory),
            ),
            (
                "CUDA failure 719: unspecified launch failure ; GPU=0",
                Some(DeviceFailure::Lost),
            ),
            (
                "CUDNN failure 5000: CUDNN_STATUS_EXECUTION_FAILED ; GPU=0",
                Some(DeviceFailure::Lost),
            ),
            ("Got invalid dimensions for input: inputs", None),
        ] {
            assert_eq!(device_failure(message), failure, "{message}");
        }
    }
}
