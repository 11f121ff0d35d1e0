#!/usr/bin/env bash
# SimSIMD: the Kullback-Leibler divergence of two histograms of doubles is ten thousand times too large, and the
# Jensen-Shannon distance a tenth.
#
# Guess: `kullbackleibler` and `jensenshannon` of float64 are at least as near to the truth as those of float32. The
# documentation has the usual formulas, and says that where there is no SIMD `sqrt` and `log` may be those of libc.
#
# Seen with simsimd 6.5.16, without a word: float64 is left to the plain code, with SIMD or without, and the plain code
# takes log(x) as (x - 1) - (x - 1)^2 / 2 + (x - 1)^3 / 3, which is near the logarithm only where x is near 1. A bin
# that is 100 times as large in one histogram as in the other counts 320,000 times the bin, instead of 4.6 times. So
# one such bin decides, and another histogram is the nearest. float32 and float16 have good kernels where the
# processor has them, and the plain one where not, or where they are switched off, as the script shows. So the same
# program gives other numbers on another machine. (`simsimd_approximate_log` in `types.h`. Its successor, numkong
# 7.8.6, is right.)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --target "$work/packages" \
    numpy==2.4.6 numkong==7.8.6 simsimd==6.5.16
PYTHONPATH="$work/packages" python3 - <<'END_OF_PROGRAM'
import numkong
import numpy as np
import simsimd


def kullback_leibler(p, q):
    return float(np.sum(p * np.log(p / q)))


def jensen_shannon(p, q):
    middle = (p + q) / 2
    return np.sqrt(max(0, (kullback_leibler(p, middle) + kullback_leibler(q, middle)) / 2))


print("simsimd", simsimd.__version__)
random = np.random.default_rng(0)
for bins in (8, 64, 256):
    p, q = random.dirichlet(np.ones(bins), 2)
    expected, seen = kullback_leibler(p, q), float(simsimd.kullbackleibler(p, q))
    print(f"{bins} bins of doubles, Kullback-Leibler: expected {expected:.4f}, seen {seen:.1f}")
    assert seen > 1000 * expected
    assert abs(float(numkong.kullbackleibler(p, q)) - expected) < 1e-3 * expected
    expected, seen = jensen_shannon(p, q), float(simsimd.jensenshannon(p, q))
    print(f"{bins} bins of doubles, Jensen-Shannon: expected {expected:.4f}, seen {seen:.4f}")
    assert 1.05 * expected < seen < 1.2 * expected
    assert abs(float(numkong.jensenshannon(p, q)) - expected) < 1e-3 * expected

# The nearest of 500 histograms to each of 100.
histograms = random.dirichlet(np.ones(64), 500)
hits = 0
for query in random.dirichlet(np.ones(64), 100):
    true = [kullback_leibler(query, other) for other in histograms]
    seen = [float(simsimd.kullbackleibler(query, other)) for other in histograms]
    hits += int(np.argmin(true) == np.argmin(seen))
print(f"the nearest by Kullback-Leibler is the right one for {hits} of 100 queries")
assert hits < 50

for capability, there in simsimd.get_capabilities().items():
    if there and capability != "serial":
        simsimd.disable_capability(capability)
p, q = random.dirichlet(np.ones(64), 2)
expected, seen = kullback_leibler(p, q), float(simsimd.kullbackleibler(p.astype(np.float32), q.astype(np.float32)))
print(f"64 bins of float32 without SIMD, Kullback-Leibler: expected {expected:.4f}, seen {seen:.1f}")
assert seen > 1000 * expected
END_OF_PROGRAM
