// One pass of resampling along one axis of pictures, as `../resample/mod.rs` does it on the processor: sums of 8-bit
// pixels times coefficients in fixed point, all in integers. `compile.py` beside this makes `resample.ptx` of it.

// Fractional bits of a coefficient.
static const int PRECISION_BITS = 22;

// A run of source positions.
struct Run {
    unsigned start, len;
};

// `Pass` in `lane.rs`; steps are in bytes.
struct Pass {
    const unsigned char *from;
    unsigned char *to;
    // One for each output position.
    const Run *runs;
    // [outputs, stride]
    const int *coefficients;
    unsigned stride;
    unsigned outputs;
    // Rows of a horizontal pass, columns of a vertical one.
    unsigned lines;
    unsigned from_step, from_line, from_channel;
    unsigned to_step, to_line;
    // Whether neighbouring threads take neighbouring lines (a vertical pass) or neighbouring outputs (a horizontal one).
    unsigned by_lines, padding;
};

__device__ unsigned char level(int sum)
{
    return min(max(sum >> PRECISION_BITS, 0), 255);
}

// A picture in each row of blocks.
extern "C" __global__ void resample(const Pass *passes)
{
    const Pass pass = passes[blockIdx.y];
    const unsigned total = pass.outputs * pass.lines;
    for (unsigned at = blockIdx.x * blockDim.x + threadIdx.x; at < total; at += gridDim.x * blockDim.x) {
        const unsigned output = pass.by_lines ? at / pass.lines : at % pass.outputs;
        const unsigned line = pass.by_lines ? at % pass.lines : at / pass.outputs;
        const Run run = pass.runs[output];
        const int *coefficients = pass.coefficients + (size_t)output * pass.stride;
        const unsigned char *from = pass.from + (size_t)line * pass.from_line + (size_t)run.start * pass.from_step;
        int red = 1 << (PRECISION_BITS - 1), green = red, blue = red;
        for (unsigned tap = 0; tap < run.len; tap++) {
            red += coefficients[tap] * from[0];
            green += coefficients[tap] * from[pass.from_channel];
            blue += coefficients[tap] * from[2 * (size_t)pass.from_channel];
            from += pass.from_step;
        }
        unsigned char *to = pass.to + (size_t)line * pass.to_line + (size_t)output * pass.to_step;
        to[0] = level(red);
        to[1] = level(green);
        to[2] = level(blue);
    }
}
